/*
 * internal.h - what libadverb's files share; nothing of it is exported.
 *
 *	error.c       the calling thread's error text
 *	address.c     where a node is: its address, the token for it, a connection to it
 *	http.c        one request and its answer, with a deadline
 *	json.c        JSON from a node: bounded, typed, never trusted
 *	node.c        handles, the control API, modules
 *	lease.c       options; opening and closing a lease; what it says of itself
 *	attach.c      the descriptors: taking them over, checking and mapping them
 *	keeper.c      the lease's thread: renewal, revocation, the node's end
 *	calls.c       submit and poll
 *	wait.c        wait, arm, invoke
 *	resume.c      another lease in the place of one that was lost
 *	heap.c        memory that a device may read: adv_buffer_alloc()
 *	buffers.c     a node's heap
 *	verbs*.c      lanes over RDMA: see verbs.h
 *
 * Two threads know a lease: the caller's, and its keeper, which shares the atomics of struct adv_keeper and nothing else.
 */
#ifndef ADVERB_CLIENT_INTERNAL_H
#define ADVERB_CLIENT_INTERNAL_H

#include <jansson.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "adverb/client.h"
#include "lane/caller.h"
#include "util/limits.h"

#define ADV_SOCKET_PATH_MAX sizeof(((struct sockaddr_un *)0)->sun_path) /* with the final NUL */
#define ADV_HOST_MAX	    256 /* a name or an address, with the final NUL */
#define ADV_ATTACH_FDS	    4
#define ADV_NODE_ID_MAX	    64

/* ---- error.c ---- */

/* Sets the thread's text (cut at ADV_CLIENT_ERROR_BYTES) and returns `status`. */
enum adv_status adv_client_fail(enum adv_status status, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The same for a text in static storage: for paths that must not format. */
enum adv_status adv_client_fail_text(enum adv_status status, const char *text);

/* ---- address.c ---- */

enum adv_address_kind {
	ADV_ADDRESS_UNIX,
	ADV_ADDRESS_TCP,   /* the control API alone */
	ADV_ADDRESS_VERBS, /* the same, and leases by RDMA */
};

struct adv_address {
	enum adv_address_kind kind;
	char path[ADV_SOCKET_PATH_MAX]; /* of the Unix socket */
	char host[ADV_HOST_MAX];
	char port[8];
	struct sockaddr_storage from; /* this side's address; ss_family 0: the system chooses */
	struct sockaddr_storage peer; /* the host's address that answered; ss_family 0: none yet */
	char text[ADV_HOST_MAX + 24]; /* for people */
	char token[ADV_CLIENT_TOKEN_MAX + 1]; /* for TCP; "": none */
};

/* Bytes of a struct sockaddr for such an address. */
socklen_t adv_address_size(const struct sockaddr_storage *address);

/* What `host` says, or where a node is looked for when it is NULL; see adv_connect(). ADV_INVALID, ADV_NO_NODE, ADV_SYSTEM (the token) */
enum adv_status adv_address_find(const char *host, struct adv_address *address);

/* A new connection to the node there. Names are looked up, which is not bounded by the deadline. ADV_NO_NODE, ADV_SYSTEM. */
enum adv_status adv_client_dial(const struct adv_address *address, uint64_t deadline_ns, int *fd);

/* ---- http.c ---- */

struct adv_client_request {
	const char *method;
	const char *path;    /* encoded */
	const char *headers; /* further ones, each with its CRLF; or "" */
	const char *type;    /* of the body */
	const void *body;
	uint64_t body_size;
	int file; /* the body's source instead of `body`, read from its start; -1 none */
	void (*sent)(
		void *user); /* called once it is out: there is time until the answer comes; or NULL */
	void *user;
};

struct adv_client_answer {
	uint32_t code;
	char *body; /* NUL-terminated, heap; of a 101 its grant */
	size_t body_size, body_capacity;
	char protocol[16]; /* the Adverb-Protocol header; "" when there was none */
	bool keep_alive;   /* the connection may carry another request */
	/* After a 101 only, and owned by the answer until taken: */
	int fds[ADV_ATTACH_FDS];
	unsigned nr_fds;
	char rest[ADV_CLIENT_LINE_MAX]; /* what came behind the byte that carried them */
	size_t rest_size;
};

/*
 * One request and its answer, whatever its code, on a connection to `address`. With `attach` the answer may be a 101, and is
 * complete when the descriptors (over TCP: the byte in their place) are there too.
 * ADV_TIMEOUT, ADV_NODE_GONE, ADV_PROTOCOL, ADV_VERSION, ADV_NO_MEMORY, ADV_SYSTEM (the file). On failure `a` holds nothing.
 */
enum adv_status adv_client_exchange(int fd, const struct adv_address *address, uint64_t deadline_ns,
				    const struct adv_client_request *request, bool attach,
				    struct adv_client_answer *a);
void adv_client_answer_fini(struct adv_client_answer *a);

/* The status that an answer means: ADV_OK for 2xx; else what it names, with its text as the thread's. */
enum adv_status adv_client_answer_status(const struct adv_client_answer *a, const char *who);

/* CLOCK_MONOTONIC deadline in `ms` from now, and what is left of it for poll(): rounded up, at least 0. */
uint64_t adv_client_deadline(uint64_t ms);
int adv_client_left_ms(uint64_t deadline_ns);

/* ---- json.c ---- */

/* Text of the node's as an object; NULL: not one, or nested too deeply. */
json_t *adv_client_json(const char *text, size_t size);

/* Members of an object. False: missing, of another type, out of bounds. */
bool adv_client_json_u64(const json_t *object, const char *name, uint64_t max, uint64_t *value);
bool adv_client_json_text(const json_t *object, const char *name, char *text, size_t size);

/* Copies text for people, control characters replaced. */
void adv_client_printable(const char *from, char *to, size_t size);

/* ---- node.c ---- */

struct adv_verbs_node;
struct adv_verbs_lease;

struct adv_node {
	struct adv_address address;
	struct adv_verbs_node *verbs;	 /* NULL: not by RDMA */
	int verbs_pid;			 /* the process whose it is */
	pthread_mutex_t lock;		 /* for what is made by the first to want it */
	_Atomic(struct adv_heap *) heap; /* of adv_buffer_alloc(); NULL: nobody has called it */
	_Atomic int spare;		 /* a connection that rests, for the next lease; -1 none */
	_Atomic int pid;    /* the process that dialled it: a forked child leaves it alone */
	_Atomic int refs;   /* the handle's and its leases' */
	_Atomic int leases; /* of these, leases */
};

/* Takes hold of the device that reaches the node, unless this process has it. Over RDMA only. */
enum adv_status adv_node_find_device(struct adv_node *node);

struct adv_node *adv_node_get(struct adv_node *node);
void adv_node_put(struct adv_node *node); /* the last one frees it */

/* For a lease. When the last one is over no device reads buffers any more: those that are not allocated go back to the system. */
void adv_node_lease_begins(struct adv_node *node);
void adv_node_lease_over(struct adv_node *node);
void adv_node_trim_heap(struct adv_node *node);

/* Takes the spare connection over; -1: there is none. It may be dead: the node hangs up after a while. */
int adv_node_take_spare(struct adv_node *node);

/* Keeps `fd`, or closes it where there is one already. */
void adv_node_keep_spare(struct adv_node *node, int fd);

/* Dials one if there is none. Without it the next lease dials itself: a failure says nothing. */
void adv_node_dial_spare(struct adv_node *node);

/* ---- buffers.c ---- */

/* True: a device of the lease may read `size` bytes at `at`, with that key. Never over shared memory. Reads memory only. */
bool adv_client_registered(const struct adv_lease *lease, const void *at, uint32_t size,
			   uint32_t *lkey);

/* When the node's handle ends, before its device. */
void adv_node_free_heap(struct adv_node *node);

/* ---- node.c ---- */

/* Which run of which node. */
struct adv_node_run {
	char id[ADV_NODE_ID_MAX];
	char started[ADV_NODE_ID_MAX];
};

/* Dials, asks, hangs up. */
enum adv_status adv_client_ask(const struct adv_address *address, uint64_t deadline_ns,
			       const struct adv_client_request *request,
			       struct adv_client_answer *a);

/* Asks the node there who it is. */
enum adv_status adv_client_node_run(const struct adv_address *address, uint64_t deadline_ns,
				    struct adv_node_run *run);
bool adv_client_node_run_read(const json_t *node, struct adv_node_run *run);
bool adv_client_node_run_same(const struct adv_node_run *a, const struct adv_node_run *b);

/* ---- keeper.c ---- */

/*
 * Keeps the attached connection of one lease. Started when the lease is attached, stopped by closing it. Holds its own copy of
 * the node's address: the handle may be gone.
 */
struct adv_keeper {
	/* shared with the caller's thread; each is independent, all end in a write to the lease's eventfd */
	_Atomic uint32_t state; /* enum adv_status: why nothing may be submitted; ADV_OK */
	_Atomic uint32_t
		lost; /* enum adv_status: what becomes of what is outstanding; ADV_OK: wait for it */
	_Atomic uint64_t renewals;
	_Atomic uint64_t alarm_ns;   /* caller: write the eventfd at this CLOCK_MONOTONIC time */
	_Atomic uint64_t planned_ns; /* keeper: sleeps until then */
	_Atomic bool ready;	     /* caller: everything below is filled in */
	_Atomic bool stop;	     /* caller: release the lease and return */
	/* the keeper's own */
	bool prepared; /* the thread exists */
	pthread_t thread;
	int connection; /* owned */
	int wake;	/* eventfd by which the caller's thread reaches the keeper; owned */
	int event;	/* the lease's eventfd; the lease's */
	void *slots;	/* mapped as long as the thread runs */
	size_t slots_size;
	bool renew;
	bool renewing;	     /* an answer is due */
	bool unattended;     /* the node was lost: look whether another has taken its place */
	unsigned looks;	     /* so far */
	uint64_t look_ns;    /* CLOCK_MONOTONIC: the next */
	uint64_t ttl_ns;     /* as granted */
	uint64_t asked_ns;   /* CLOCK_BOOTTIME: the grant or renewal that counts was sent */
	uint64_t renewal_ns; /* the one that is due was sent */
	uint64_t expires_ns; /* by this side's clock */
	uint64_t
		release_ns; /* CLOCK_MONOTONIC: wait for the node's word so long; 0: not stopping */
	char line[ADV_CLIENT_LINE_MAX];
	size_t line_size;
	struct adv_node_run run;
	struct adv_address address;
};

/* Nothing runs yet: adv_keeper_stop() may be called. */
void adv_keeper_init(struct adv_keeper *k);

/* Starts the thread, which waits for adv_keeper_start(): it takes as long as an answer of the node. Again is no error. */
enum adv_status adv_keeper_prepare(struct adv_keeper *k);

/* `connection` is taken over on success; `rest` is what has been read of it already. ADV_NO_MEMORY, ADV_SYSTEM */
struct adv_keeper_options {
	const struct adv_address *address;
	int connection;
	int event;
	void *slots;
	size_t slots_size;
	bool renew;
	uint64_t ttl_ms;
	uint64_t asked_ns; /* CLOCK_BOOTTIME: when the lease was asked for */
	const struct adv_node_run *run;
	const char *rest;
	size_t rest_size;
};
enum adv_status adv_keeper_start(struct adv_keeper *k, const struct adv_keeper_options *options);

/* Releases the lease and joins the thread. Blocks at most ADV_CLIENT_CLOSE_MS and a little. */
void adv_keeper_stop(struct adv_keeper *k);

/* In a forked child: the thread stayed behind; gives back the descriptors and says nothing to the node. */
void adv_keeper_forget(struct adv_keeper *k);

/* Nothing keeps the lease: it is lost. */
void adv_keeper_lost(struct adv_keeper *k, enum adv_status status);

/* Wants the eventfd written at `alarm_ns` (CLOCK_MONOTONIC); UINT64_MAX: not. At most one system call. */
void adv_keeper_alarm(struct adv_keeper *k, uint64_t alarm_ns);

/* ---- lease.c ---- */

/* What the library keeps for each slot, beside struct adv_caller_call. */
struct adv_client_slot {
	void *out; /* where a call without a slot of its own wants its output */
	const void *in;
	uint32_t out_capacity;
	uint32_t in_size;
	uint16_t function;
	uint16_t flags; /* of its entry */
	bool held;	/* the user's, by adv_slot_get() */
	bool in_place;	/* the call was submitted with the slot: its output stays there */
};

/*
 * One worker. Every slot is in exactly one place: in `free`; in `lost` (its caller gave up, the worker still has it); held by the
 * user; or carrying a call.
 */
struct adv_client_worker {
	struct adv_caller caller;
	struct adv_client_slot *slots;
	uint16_t *free; /* a stack: the slot used last is the warmest */
	uint16_t *lost;
	uint32_t nr_free;
	uint32_t nr_lost;
} __attribute__((aligned(ADV_CACHE_LINE)));

struct adv_lease {
	/* read and changed by calls */
	struct adv_client_worker *workers;
	uint32_t nr_workers;
	uint32_t nr_functions;
	uint32_t next_worker; /* to be polled */
	uint32_t nr_waiting;  /* accepted, and not reported yet */
	uint32_t polls;
	bool armed;	   /* workers were told that this side sleeps */
	bool precise;	   /* the next poll follows a sleep: it reads the precise clock */
	bool shared_cores; /* give way while spinning: a worker may need this core */
	uint64_t next_call_id;
	uint64_t earliest_ns; /* no waited-for call has an earlier deadline, CLOCK_MONOTONIC */
	uint64_t spin_ns;
	uint64_t tick_ns; /* resolution of the coarse clock */
	struct adv_lease_stats stats;
	struct adv_geometry geometry;
	struct adv_keeper keeper;
	/* set once */
	struct adv_resume *resume;     /* see resume.c; NULL: a lost lease is lost */
	struct adv_verbs_lease *verbs; /* its lanes are mirrors: see verbs.h; NULL: shared memory */
	int event_fd;
	int wait_fd; /* to sleep on: event_fd, or what is readable with it */
	int pid;     /* that opened it: after a fork the child has no keeper */
	void *maps[ADV_LANE_FILES];
	struct adv_caller_call *calls;
	struct adv_client_slot *slots;
	uint16_t *stacks;
	char **functions;
	int *cpus;	       /* of each worker; -1: not pinned */
	struct adv_node *node; /* a reference */
	cpu_set_t worker_cpus; /* the same as a set */
	uint32_t nr_hot;
	char id[32];
	char digest[72];
	char module[2 * ADV_NAME_MAX];
};

/*
 * Makes the workers' books once geometry and mappings are there, or begins them anew: then slots that the user holds stay theirs.
 * ADV_NO_MEMORY
 */
enum adv_status adv_lease_books_init(struct adv_lease *lease);

/*
 * Ends what is left of the lease and takes another in its place, with lanes at the same addresses; no call is waited for. On failure it
 * stays lost. ADV_BAD_MODULE: the module is another one by now.
 */
enum adv_status adv_lease_again(struct adv_lease *lease, const struct adv_lease_options *options,
				uint64_t deadline_ns);

/* ---- resume.c ---- */

/* For a lease that is being opened; makes lease->wait_fd. */
enum adv_status adv_resume_init(struct adv_lease *lease, const struct adv_lease_options *options);
void adv_resume_fini(struct adv_lease *lease);

/* lease->wait_fd is readable when `fd` is, until that is closed. */
enum adv_status adv_resume_listen(struct adv_lease *lease, int fd);

/* May another lease follow one that ended in this way? */
bool adv_resume_possible(const struct adv_lease *lease, enum adv_status lost);

/* True: the call that ended so is not reported, it will be run again. */
bool adv_resume_takes(struct adv_lease *lease, const struct adv_client_worker *worker,
		      const struct adv_result *result);

/* Are there such calls? */
bool adv_resume_pending(const struct adv_lease *lease);

/* Leases again: tries until `until_ns` (CLOCK_MONOTONIC), or once and only if a try is due. ADV_OK, or why not, with the text. Blocks. */
enum adv_status adv_resume(struct adv_lease *lease, enum adv_status lost, uint64_t until_ns);
enum adv_status adv_resume_if_due(struct adv_lease *lease, enum adv_status lost);

/* Ends calls that wait to be run again and are overdue; tries when it is due. For a lease that has `resume`. */
unsigned adv_resume_poll(struct adv_lease *lease, struct adv_completion *completions, unsigned max,
			 uint64_t now_ns);

/* When the next try is due, for a sleep; UINT64_MAX: nothing waits for one. The timer makes lease->wait_fd readable then. */
uint64_t adv_resume_due_ns(const struct adv_lease *lease);
void adv_resume_set_timer(struct adv_lease *lease);

/* ---- attach.c ---- */

/*
 * Checks the descriptors of an answer against the lease's geometry and maps them, in the place of what is mapped. They stay the answer's,
 * but for the eventfd.
 */
enum adv_status adv_lease_map(struct adv_lease *lease, struct adv_client_answer *a);
void adv_lease_unmap(struct adv_lease *lease);

/* ---- calls.c ---- */

/* CLOCK_MONOTONIC at up to lease->tick_ns in the past, for a quarter of the price. */
uint64_t adv_client_coarse_ns(void);

/* Why calls may not be submitted, with the text; ADV_OK. */
enum adv_status adv_client_refused(struct adv_lease *lease, enum adv_status status);

/* The worker with the fewest calls among those with a free slot; NULL. */
struct adv_client_worker *adv_client_pick(struct adv_lease *lease);

/* Brings back slots of calls that were given up and have ended since. Where a caller waits for nothing else, asks the lane too. */
void adv_client_reclaim(struct adv_lease *lease);

/* Completions that the lanes have. */
unsigned adv_client_poll_lanes(struct adv_lease *lease, struct adv_completion *completions,
			       unsigned max);

/* Completions that nobody sends: past deadlines at `now_ns`, and everything when the node is lost. */
unsigned adv_client_poll_overdue(struct adv_lease *lease, struct adv_completion *completions,
				 unsigned max, uint64_t now_ns);

/* Copies a result's output to `out`; returns the bytes, at most `capacity`. */
uint32_t adv_client_output(struct adv_lease *lease, const struct adv_client_worker *worker,
			   const struct adv_result *r, void *out, uint32_t capacity);

/* µs of a public timeout to the entry's budget; to nanoseconds, saturating. 0 is the default of 10 s. */
uint32_t adv_client_budget_us(uint64_t timeout_us);
uint64_t adv_client_timeout_ns(uint64_t timeout_us);

/* Where a call's input is read from. */
struct adv_client_input {
	const void *from;
	uint32_t lkey; /* over verbs, above ADV_INLINE_MAX bytes */
	uint32_t size;
};

/* Sees to it that a worker, or a device, can read the input: copies it into the slot unless that is not needed. */
struct adv_client_input adv_client_stage_large(struct adv_lease *lease,
					       const struct adv_client_worker *worker,
					       uint32_t slot, const void *in, uint32_t in_size);

static inline struct adv_client_input adv_client_stage(struct adv_lease *lease,
						       const struct adv_client_worker *worker,
						       uint32_t slot, const void *in,
						       uint32_t in_size)
{
	/* The entry carries a small one. */
	if (in_size <= ADV_INLINE_MAX)
		return (struct adv_client_input){.from = in, .size = in_size};
	return adv_client_stage_large(lease, worker, slot, in, in_size);
}

/* Over verbs an entry is written again as its call is given up. */
void adv_client_carry_cancel(struct adv_lease *lease, const struct adv_client_worker *worker,
			     uint32_t slot);

/* What becomes of outstanding calls; ADV_OK: wait for them. */
uint32_t adv_client_lost(struct adv_lease *lease);

/* Submits a call of a lost lease on the one in its place. */
enum adv_status adv_client_submit_again(struct adv_lease *lease, uint32_t worker,
					const struct adv_client_slot *slot, uint64_t call_id,
					uint64_t user_data, uint64_t deadline_ns, uint64_t now_ns);

/* Why nothing may be submitted, as far as the lease as a whole goes; ADV_OK. */
enum adv_status adv_client_state(const struct adv_lease *lease);

/* ---- wait.c ---- */

/* Workers need not wake this side any more. */
void adv_client_disarm(struct adv_lease *lease);

#endif
