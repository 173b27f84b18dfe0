/*
 * client.h - libadverb: lease workers from a node and invoke functions in them.
 *
 *	struct adv_node *node;
 *	struct adv_lease *lease;
 *	uint32_t echo, n;
 *	char out[64];
 *
 *	adv_connect(NULL, &node);
 *	adv_lease_open(node, "hello", NULL, &lease);
 *	adv_function_find(lease, "hello", &echo);
 *	adv_invoke(lease, echo, "world", 5, out, sizeof(out), &n, 1000000);
 *	adv_lease_close(lease);
 *	adv_disconnect(node);
 *
 * After the model of "rFaaS: Enabling High Performance Serverless with RDMA and Leases" (IPDPS 2023): a lease is a claim
 * on W workers of one module for a time, taken straight from the node that has them; a call is a write into the worker's
 * memory. A lease is renewed in the background by a thread of the library until it is closed.
 *
 * Threads: a node handle may be used from any thread; a lease handle by one thread at a time. The library never calls
 * back, never installs a signal handler and never ends the process.
 * Errors: every call returns an enum adv_status; adv_error() has the sentence that says what failed and what to do.
 * On failure out parameters are left untouched.
 * Versions: every options struct starts with its size, set by its init function; a newer library reads older structs.
 */
#ifndef ADVERB_CLIENT_H
#define ADVERB_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include <adverb/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct adv_node;
struct adv_lease;

/* The text of the calling thread's last failed call, until its next failed one. Never NULL. */
ADV_API const char *adv_error(void);

/* "0.1.0" */
ADV_API const char *adv_version(void);

/* ---- nodes ---- */

/*
 * Opens a handle for the node at `host`:
 *	unix:PATH, or a bare path     on this machine, lanes in shared memory
 *	verbs://HOST[:PORT]	      by RDMA (docs/verbs.md); [V6ADDRESS] in brackets; behind the port may stand ?from=ADDRESS, this side's
 *	tcp://HOST[:PORT]	      the control API alone: no leases
 *	HOST:PORT		      by its socket when that node is this machine's, else by RDMA
 *	NULL			      $ADVERB_HOST, or the first of $XDG_RUNTIME_DIR/adverb/adverb.sock and /run/adverb/adverb.sock that exists
 * Over TCP a token says who asks: $ADVERB_TOKEN, the file that $ADVERB_TOKEN_FILE names, or $XDG_CONFIG_HOME/adverb/token; it is read here.
 * Asks the node for its version. The handle outlives a restart of the node. Blocks at most 5 s, and for as long as looking up a name takes.
 * ADV_NO_NODE, ADV_VERSION, ADV_INVALID, ADV_NO_MEMORY, ADV_SYSTEM (no RDMA device: what to load), ADV_FORBIDDEN (the token's file)
 */
ADV_API enum adv_status adv_connect(const char *host, struct adv_node **node);

/* Frees the handle. Leases opened from it stay valid. NULL is ignored. */
ADV_API void adv_disconnect(struct adv_node *node);

/* One reply of the control API. Freed by adv_control_reply_free(). */
struct adv_control_reply {
	uint32_t size;	    /* sizeof(struct adv_control_reply), set by the library */
	uint32_t http_code; /* 200, 404, ... */
	char *body;	    /* JSON text, NUL-terminated; owned by the reply */
	size_t body_size;
};

/*
 * One request of the control API (docs/api.md): `method` and `path` as in HTTP, `body` of body_size bytes or NULL.
 * ADV_OK for a 2xx answer; for others the status that the answer names, and adv_error() has its text. When `reply` is
 * not NULL it is filled whenever the node has answered, whatever its code. Blocks at most timeout_ms (0: 60 s).
 */
ADV_API enum adv_status adv_control(struct adv_node *node, const char *method, const char *path,
				    const void *body, size_t body_size, uint32_t timeout_ms,
				    struct adv_control_reply *reply);
ADV_API void adv_control_reply_free(struct adv_control_reply *reply);

/*
 * Deploys the shared object in `file` as module `name`; `flags` of ADV_DEPLOY_*. Replaces the tenant's own module of that
 * name; running leases keep the old one. The node loads it in a scratch sandbox first.
 * ADV_BAD_MODULE, ADV_STORAGE, ADV_FORBIDDEN, ADV_SYSTEM (the file could not be read), ADV_NO_NODE
 */
#define ADV_DEPLOY_PUBLIC 1u			     /* every tenant may lease it */
#define ADV_DEPLOY_HOT(n) (((uint32_t)(n) + 1) << 8) /* keep n (0 to 64) sandboxes with it loaded */
/*
 * What it may do; one of these, or none: then what the scratch load shows it to need. STRICT: no file, one thread. LIBC: it
 * may read what the operator shows to sandboxes, too. THREADS: threads, too.
 */
#define ADV_DEPLOY_STRICT  (1u << 16)
#define ADV_DEPLOY_LIBC	   (2u << 16)
#define ADV_DEPLOY_THREADS (3u << 16)
ADV_API enum adv_status adv_deploy(struct adv_node *node, const char *name, const char *file,
				   uint32_t flags);

/* The same; the tenants (uids, at most 16) that are listed may lease it too, as owner/name. */
ADV_API enum adv_status adv_deploy_for(struct adv_node *node, const char *name, const char *file,
				       uint32_t flags, const uint32_t *tenants,
				       uint32_t nr_tenants);
ADV_API enum adv_status adv_remove(struct adv_node *node, const char *name);

/* ---- leases ---- */

#define ADV_HOT_ALWAYS	UINT64_MAX /* workers spin until the lease ends */
#define ADV_HOT_NEVER	0	   /* workers sleep between calls */
#define ADV_HOT_DEFAULT (UINT64_MAX - 1)
/*
 * The worker learns from the gaps between calls when spinning pays: as if a wake-up were worth a millisecond of it. Never more than twice as
 * dear as the best fixed window (docs/leases.md).
 */
#define ADV_HOT_AUTO (UINT64_MAX - 2)

struct adv_lease_options {
	uint32_t size;	       /* set by adv_lease_options_init() */
	uint32_t workers;      /* 1 .. 256; default 1 */
	uint64_t memory_bytes; /* for each worker; default 256 MiB */
	uint64_t ttl_ms;       /* lease time; renewed at half of it; default 10 s */
	uint64_t hot_us;       /* a worker spins so long after a call, then sleeps; default 1 ms */
	uint32_t
		slots; /* calls in flight for each worker, 1 .. 1024; default 4. Some times more than are used: faster */
	uint32_t in_capacity;  /* bytes of a slot's input; default 64 KiB, at most 64 MiB */
	uint32_t out_capacity; /* bytes of a slot's output; the same */
	uint32_t timeout_ms;   /* of opening the lease; default 5 s */
	uint64_t spin_us;      /* the caller spins so long in adv_wait, then sleeps; default 1 ms */
	uint32_t flags;	       /* ADV_LEASE_* */
	uint32_t
		priority; /* 0 .. 9, default 4: of those that wait the higher one is served first; where a node must hand cores back the lowest goes */
	uint64_t
		wait_ms; /* wait so long for room, beyond timeout_ms; at most an hour; default 0: refused at once */
};

#define ADV_LEASE_NO_RENEW 1u /* the lease ends after ttl_ms */
/*
 * When the lease is lost (node gone or restarted, link lost, revoked, expired) another of the same module takes its place, on the
 * same handle: adv_invoke() and adv_wait() try until their time is up, adv_submit() and adv_poll() when a try is due; any of them may block
 * for timeout_ms then. The module must be the same bytes (else ADV_BAD_MODULE). Slots of adv_slot_get() stay, but not what is in them.
 * Calls in flight end with the status of the loss: they may have run. Unless:
 */
#define ADV_LEASE_RESUME 2u
#define ADV_LEASE_IDEMPOTENT \
	4u /* with RESUME: they are submitted again; may run twice; not those on slots. `in` stays until completion */

/* Fills in the defaults and the size. */
ADV_API void adv_lease_options_init(struct adv_lease_options *options);

/*
 * Leases workers that run `module` ("name", or "owner/name" for another tenant's public module); `options` may be NULL.
 * Blocks at most options->timeout_ms, and wait_ms where there is no room. The lease pins the module's digest: a later deploy changes nothing for it.
 * ADV_NO_MODULE, ADV_NO_CAPACITY, ADV_INVALID, ADV_FORBIDDEN, ADV_NO_NODE, ADV_VERSION, ADV_SYSTEM, ADV_NO_MEMORY
 */
ADV_API enum adv_status adv_lease_open(struct adv_node *node, const char *module,
				       const struct adv_lease_options *options,
				       struct adv_lease **lease);

/* Releases the lease: its sandboxes are killed, calls in flight are lost. Blocks at most 1 s. NULL is ignored. */
ADV_API void adv_lease_close(struct adv_lease *lease);

/*
 * ADV_OK while calls may be submitted, else why not: ADV_REVOKED, ADV_EXPIRED, ADV_NODE_GONE, ADV_LOAD_FAILED...
 * Reads memory only.
 */
ADV_API enum adv_status adv_lease_state(struct adv_lease *lease);

struct adv_lease_info {
	uint32_t size; /* set by the caller to sizeof(struct adv_lease_info) */
	uint32_t workers;
	uint32_t slots;
	uint32_t in_capacity; /* as granted: rounded up to whole pages */
	uint32_t out_capacity;
	uint32_t nr_functions;
	uint32_t shared_cores; /* 1: some worker shares its core, and yields while it spins */
	uint32_t nr_hot;       /* workers that came from the hot pool */
	char id[32];
	char digest[72]; /* SHA-256 of the module, hexadecimal */
};
ADV_API enum adv_status adv_lease_info(struct adv_lease *lease, struct adv_lease_info *info);

/* The number of the function `name` for calls on this lease. Reads memory only. ADV_NO_FUNCTION */
ADV_API enum adv_status adv_function_find(struct adv_lease *lease, const char *name,
					  uint32_t *function);

/* The name of function number `function`, or NULL. Owned by the lease. */
ADV_API const char *adv_function_name(struct adv_lease *lease, uint32_t function);

/* The CPU (Linux's number) that worker number `worker` is pinned to; -1: none, or no such worker. */
ADV_API int adv_lease_cpu(struct adv_lease *lease, uint32_t worker);

/* ---- calls ---- */

#define ADV_NO_TIMEOUT UINT64_MAX
#define ADV_ANY_WORKER UINT32_MAX

/*
 * One call, start to end: copies the input in, waits, copies the output out (cut at out_capacity: then ADV_BAD_SIZE).
 * Returns the call's status within timeout_us (0: 10 s) plus scheduling. On ADV_FUNCTION_FAILED the output is the
 * function's error text. `out_size` may be NULL. Does not allocate. Not to be mixed with results of adv_submit() that are
 * still outstanding on the lease: it returns ADV_INVALID then.
 */
ADV_API enum adv_status adv_invoke(struct adv_lease *lease, uint32_t function, const void *in,
				   uint32_t in_size, void *out, uint32_t out_capacity,
				   uint32_t *out_size, uint64_t timeout_us);

/*
 * A slot: an input and an output area in memory shared with one worker. Between adv_slot_get() and adv_slot_put() the
 * caller owns it, except while a call submitted with it is outstanding.
 */
struct adv_slot {
	void *in; /* 64-byte aligned */
	const void *
		out; /* 64-byte aligned; holds a completion's output until the next submit with this slot */
	uint32_t in_capacity;
	uint32_t out_capacity;
	uint32_t worker;
	uint32_t index;
};

/* Takes a free slot of `worker` or of ADV_ANY_WORKER. Reads memory only. ADV_BUSY, ADV_INVALID or the lease's state. */
ADV_API enum adv_status adv_slot_get(struct adv_lease *lease, uint32_t worker,
				     struct adv_slot *slot);

/* Gives it back. A slot whose call is still outstanding comes free when that call ends. */
ADV_API void adv_slot_put(struct adv_lease *lease, const struct adv_slot *slot);

/*
 * Memory for inputs that a device reads where they lie: a call whose `in` is within such a buffer is carried over RDMA without a copy.
 * Over shared memory it is memory like any other, copied once. At least `size` bytes at a multiple of 64, of the node's handle: freed by
 * adv_buffer_free(), at the latest with the handle and its last lease. Any thread. Takes what malloc() takes, but where the heap must grow:
 * that registers 4 MiB or more with the device. NULL: adv_error() says why (RLIMIT_MEMLOCK, most often).
 * What is freed stays with the handle, for the next, until its last lease has ended: RDMA needs it to stay in memory.
 */
ADV_API void *adv_buffer_alloc(struct adv_node *node, size_t size);

/* `buffer` is from adv_buffer_alloc() of this node, and no call that is outstanding reads it; anything else, and NULL, is ignored. */
ADV_API void adv_buffer_free(struct adv_node *node, void *buffer);

#define ADV_REQUEST_TIMED \
	1u /* the completion says how long the function ran: the worker reads its clock before it answers, not behind it */

struct adv_request {
	uint32_t size;	   /* sizeof(struct adv_request) */
	uint32_t function; /* from adv_function_find() */
	uint32_t worker; /* or ADV_ANY_WORKER: the one with the fewest calls; ignored with a slot */
	uint32_t in_size;
	/*
	 * Copied before adv_submit() returns, but for what lies in memory of adv_buffer_alloc(): that must stay as it is until the call's
	 * completion is taken. Ignored with a slot.
	 */
	const void *in;
	const struct adv_slot
		*slot; /* input is in slot->in already, and output stays in slot->out; or NULL */
	void *out;     /* where the output is copied when the completion is taken; without a slot */
	uint32_t out_capacity;
	uint32_t flags;	     /* ADV_REQUEST_TIMED, or 0 */
	uint64_t timeout_us; /* 0: 10 s; ADV_NO_TIMEOUT */
	uint64_t user_data;  /* comes back in the completion */
};

struct adv_completion {
	uint64_t user_data;
	uint64_t call_id;
	const void *out; /* request.out, or slot->out; valid as long as that */
	uint32_t out_size;
	uint32_t status; /* enum adv_status */
	uint32_t detail; /* ADV_CRASHED: the signal; ADV_EXITED: the exit status; else 0 */
	uint32_t worker;
	uint64_t
		execution_ns; /* of ADV_REQUEST_TIMED, as the worker measured it, saturating at 4.29 s; else 0 */
};

/*
 * Publishes one call. Does not block, does not allocate; one wake-up system call when the worker sleeps.
 * ADV_BUSY (no slot free: take completions first), ADV_TOO_LARGE, ADV_NO_FUNCTION, ADV_INVALID, or the lease's state. A completion that
 * says ADV_BUSY was not run: on a node that lets leases share cores, another lease's call has the worker's core. Try again, or elsewhere.
 */
ADV_API enum adv_status adv_submit(struct adv_lease *lease, const struct adv_request *request,
				   uint64_t *call_id);

/*
 * Takes up to `max` completions, in the order of each worker. Returns how many. Every accepted call is completed exactly
 * once, whatever happens to the worker, the lease or the node, at the latest when its timeout has passed. Does not block.
 */
ADV_API unsigned adv_poll(struct adv_lease *lease, struct adv_completion *completions,
			  unsigned max);

/*
 * The same, but waits up to timeout_us for the first: spins for options.spin_us, then sleeps on the lease's descriptor.
 * Returns 0 when the time is up, or at once when nothing is outstanding.
 */
ADV_API unsigned adv_wait(struct adv_lease *lease, struct adv_completion *completions, unsigned max,
			  uint64_t timeout_us);

/*
 * A descriptor for an event loop: readable when a completion or a change of the lease's state has come since
 * adv_lease_arm() returned 1. The library owns it; the caller neither reads nor closes it.
 */
ADV_API int adv_lease_fd(struct adv_lease *lease);

/*
 * Prepares for sleep on adv_lease_fd(): 1 when it may, 0 when there is something for adv_poll() to take already.
 * After waking, adv_poll() disarms.
 */
ADV_API int adv_lease_arm(struct adv_lease *lease);

/*
 * What the lease has done so far. Copies count payloads that the library copied, in either direction: a call on a slot
 * larger than 32 bytes counts none.
 */
struct adv_lease_stats {
	uint32_t size; /* set by the caller */
	uint32_t reserved;
	uint64_t calls, failures, copies, copied_bytes, wakes, sleeps, deaths, renewals;
	uint64_t doorbells, work_requests, immediates; /* over verbs: rung, sent, received */
	uint64_t resumes; /* leases that took the place of a lost one: ADV_LEASE_RESUME */
};
ADV_API enum adv_status adv_lease_stats(struct adv_lease *lease, struct adv_lease_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
