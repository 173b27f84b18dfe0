/*
 * control.h - the control thread: what it owns, and the parts it is made of. Internal to src/control and src/node.
 *
 * One thread runs all of it on one io_uring. It decides nothing about cores, leases and pools itself: allocator/ and
 * sandbox/pool.c decide, the files here carry out:
 *	api*.c        requests in, answers out
 *	held.c        a lease's life: attach, renewal, end
 *	lanes.c       its shared memory, made ahead
 *	core_lines.c  pages of cores that leases share
 *	remote*.c     leases over verbs: regions, queue pairs, connections
 *	workers.c     a lease's workers: claims, deaths, replacements, the watchdog
 *	billing.c     what leases use: counted, billed, stored
 *	accounting.c  what nodes tell each other of that
 *	deploy.c      a module's way from bytes to the registry
 *	sandboxes.c   warden and pool
 *	log_pipe.c, logs.c  what functions print: read, kept
 */
#ifndef ADVERB_CONTROL_CONTROL_H
#define ADVERB_CONTROL_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "allocator/arena.h"
#include "allocator/cores.h"
#include "allocator/lease.h"
#include "allocator/ledger.h"
#include "allocator/queue.h"
#include "control/core_lines.h"
#include "control/http.h"
#include "control/lanes.h"
#include "control/logs.h"
#include "control/loop.h"
#include "control/remote.h"
#include "control/sandboxes.h"
#include "control/tenants.h"
#include "lane/supervisor.h"
#include "registry/registry.h"
#include "sandbox/launch.h"

/* Accounts between nodes: src/accounts. */
struct adv_accounting_options {
	bool collects, reports;
	bool adds;				/* reports by FETCH_AND_ADD */
	struct sockaddr_storage listen, report; /* by RDMA */
	uint8_t key[32];
};

struct adv_control_options {
	int listen_fd;			   /* a listening Unix stream socket; stays the owner's */
	int remote_fd;			   /* the same for TCP; -1: none */
	const struct adv_tenants *tenants; /* who may come by it */
	uint32_t peer_timeout_ms;
	struct adv_warden *warden;
	struct adv_registry *registry;
	const char *state_dir;
	const char *worker_cpus; /* or NULL */
	enum adv_oversubscribe oversubscribe;
	uint32_t max_leases;
	uint64_t memory_bytes; /* that leases may reserve */
	uint64_t stop_grace_ms;
	struct adv_pool_options pool;
	const struct sockaddr_storage *verbs; /* where to listen by RDMA; NULL: not */
	enum adv_placement placement;
	uint32_t nr_pollers;
	const char *poller_cpus;  /* or NULL */
	int near_numa_node;	  /* see adv_cores_options */
	struct adv_prices prices; /* of the bill */
	uint32_t bill_days;	  /* that bills are kept */
	struct adv_accounting_options accounting;
};

/* What belongs to a request that waits for something: cleared when its peer has gone. First member of its owner. */
struct adv_waiting {
	struct adv_http_request *request; /* NULL: the peer has gone */
};

/* A node that hands cores back. */
struct adv_drain {
	bool on;
	uint32_t keep;		   /* cores that leases may go on with */
	struct adv_drainer *first; /* requests that wait until the others are idle */
};

struct adv_control {
	struct adv_control_options options;
	struct adv_loop *loop;
	struct adv_http_server *http;
	struct adv_http_server *remote_http; /* NULL: none */
	struct adv_registry *registry;
	struct adv_watch registry_watch;
	struct adv_cores *cores;
	struct adv_shares *shares;
	struct adv_leases *leases;
	struct adv_ledger *ledger;
	struct adv_sandboxes *sandboxes;
	struct adv_logs *logs;
	struct adv_log_wait *log_waits; /* requests that wait for a line */
	struct adv_lanes *lanes;
	struct adv_core_lines *core_lines;
	struct adv_remotes *remotes;	   /* NULL: no verbs here */
	struct adv_accounting *accounting; /* NULL: no accounts between nodes */
	struct adv_queue queue;		   /* requests for leases that wait for room */
	struct adv_timer admission_timer;  /* when the queue is looked at again */
	struct adv_drain drain;
	struct adv_timer lease_timer;	 /* the next lease whose time is up */
	struct adv_timer watchdog_timer; /* runs while there are leases */
	struct adv_timer usage_timer;	 /* each second while there are leases */
	struct adv_timer forget_timer;	 /* old bills */
	uint64_t watchdog_ns;		 /* its present interval */
	uint64_t flushed_ns;		 /* when use was counted last */
	uint64_t started_ns;		 /* CLOCK_BOOTTIME */
	char started[32]; /* wall clock, ISO 8601: tells one run of the node from the next */
	bool stopping;
	bool failed; /* the warden is gone */
};

/* 0 or -errno with `reason`. Starts to serve with the first adv_control_run_once(). */
int adv_control_create(const struct adv_control_options *options, struct adv_control **control,
		       char *reason, size_t reason_size);
void adv_control_destroy(struct adv_control *control);

/* Serves until adv_control_stop() has been carried out or something essential is gone. 0, or -EIO for the latter. */
int adv_control_run(struct adv_control *control);

/* No new leases; those there are are revoked with the grace, then ended. From a callback of the loop. */
void adv_control_stop(struct adv_control *control);

/* ---- a lease as the control thread holds it ---- */

struct adv_held;

struct adv_worker_slot {
	struct adv_held *held;
	uint32_t lane;
	struct adv_claim claim;
	struct adv_supervisor supervisor;
	struct adv_timer restart;
	uint32_t failures; /* workers in a row that died before they served */
	bool timed_out;	   /* killed by the watchdog: its death is a timeout */
	bool sits;	   /* on its core's line */
	bool never_served; /* killed by the watchdog, since it did not begin to */
	uint64_t started_ns;
};

struct adv_held {
	struct adv_control *control;
	struct adv_lease_entry *entry;
	struct adv_module *module; /* a reference */
	struct adv_geometry geometry;
	struct adv_lane_memory memory;
	uint32_t nr_live;     /* workers whose claim holds a sandbox */
	uint32_t hot_hits;    /* of the first claims */
	uint64_t deaths;      /* workers that were replaced */
	struct adv_bill bill; /* what it has used so far */
	uint64_t
		waited_ms; /* its request, for room: its client counts its time from so much later */
	bool finishing;	   /* inside adv_held_finish(): its client may be found gone */
	bool client_gone;  /* nobody waits for its end */
	bool is_remote;	   /* over verbs */
	struct adv_remote *remote; /* its end there; NULL: a local lease, or over */
	void (*granted)(struct adv_held *held, enum adv_status status,
			const char *reason); /* remote: see adv_held_open() */
	void *granted_user;
	uint64_t counted_ns; /* usage is in the ledger up to here, CLOCK_BOOTTIME */
	struct adv_http_upgraded *connection;
	struct adv_worker_slot *workers;
};

/*
 * Grants a lease and sets it going. ADV_OK, or a status with `reason`; then nothing is held. The module's memfd is loaded.
 * A lease over verbs (`remote` is not NULL) can be handed out only when its memory is registered: `granted` is called then, or when that
 * failed, once. The lease may end before: with the status that says why, and is no more then.
 */
struct adv_held_remote {
	struct adv_remote_wish wish;
	void (*granted)(struct adv_held *held, enum adv_status status, const char *reason);
	void *user;
};
enum adv_status adv_held_open(struct adv_control *control, struct adv_module *module,
			      const struct adv_lease_wish *wish,
			      const struct adv_held_remote *remote, struct adv_held **held,
			      char *reason, size_t reason_size);

/* Answers the request with 101 and the descriptors; before these `grant`, when the request asked for the lease too (else NULL). */
void adv_held_attach(struct adv_held *held, struct adv_http_request *request, const char *grant);

/* The client is told to finish; the lease ends when the grace is over. */
void adv_held_revoke(struct adv_held *held, uint64_t grace_ms);

/* Kills the workers; when the last is reaped the client is told and the lease forgotten. May be called again. */
void adv_held_end(struct adv_held *held, enum adv_status status);

/* The last worker is reaped, or there was none: tells the client, settles the bill, frees everything. */
void adv_held_finish(struct adv_held *held);

/* A node line has changed (UINT32_MAX: all of them): wakes the client, wherever it sleeps. */
void adv_held_wake(struct adv_held *held, uint32_t lane);

/* Moves the timer to the next lease whose time is up. After each change of a lease's times. */
void adv_held_schedule(struct adv_control *control);

/* ---- its workers ---- */

/* Claims and starts a worker for each lane. ADV_NO_CAPACITY: not all could be had; those that were are being killed. */
enum adv_status adv_workers_start(struct adv_held *held);
void adv_workers_kill(struct adv_held *held);

/* Starts the timer of the watchdog, if it does not run. */
void adv_workers_watch(struct adv_control *control);
void adv_workers_timers_init(struct adv_control *control);

/* Do its workers sleep between calls because a poller needs their core? */
bool adv_held_blocks(const struct adv_held *held);

/* Has any lane calls in flight? */
bool adv_workers_busy(const struct adv_held *held);

/* ---- what it uses ---- */

void adv_billing_init(struct adv_control *control);

/* The lease is granted: it is counted, and has a bill from now on. */
void adv_billing_begin(struct adv_held *held);

/* Puts processor time that a module used outside of any lease on its owner's line; `user` is the control. */
void adv_billing_spent(void *user, const struct adv_module *module, uint64_t cpu_ns);

/* Writes this lease's use since the last time into the ledger. */
void adv_billing_count(struct adv_held *held);

/* The lease is over: its bill is final, and stored. */
void adv_billing_settle(struct adv_held *held);

/* Something was used that is not in the registry yet: it will be within a second. */
void adv_billing_used(struct adv_control *control);

/* Counts what all leases have used by now, and hands it to the registry's thread. For somebody who asks: unless it was done just now. */
void adv_billing_flush(struct adv_control *control);
void adv_billing_flush_for(struct adv_control *control);

/* Hands what has changed in the ledger to the registry's thread. */
void adv_billing_store(struct adv_control *control);

/* Processor time of a sandbox that is reaped, by the kernel. */
void adv_billing_cpu(struct adv_held *held, uint64_t cpu_ns);

/*
 * A worker is reaped, and its calls that are not completed end: the one that ran with `status`, the others with `rest`. What ran until then is billed as the
 * node saw it: the worker cannot tell any more. Before its callers are told.
 */
void adv_billing_unfinished(struct adv_worker_slot *worker, enum adv_status status,
			    enum adv_status rest);

/* The lease has ended with `status`, its workers are reaped: calls that were in flight are counted as ended by that. Before their callers are told. */
void adv_billing_cut_off(struct adv_held *held, enum adv_status status);

/* ---- between nodes ---- */

int adv_accounting_start(struct adv_control *control, char *reason, size_t reason_size);
void adv_accounting_stop(struct adv_control *control);
void adv_accounting_report(struct adv_control *control);	/* the ledger has changed */
json_t *adv_accounting_json(const struct adv_control *control); /* NULL: there is nothing */

/* ---- requests ---- */

/* The router: handlers for adv_http_server_start(). */
struct adv_http_handlers adv_api_handlers(struct adv_control *control);
struct adv_http_handlers adv_api_remote_handlers(struct adv_control *control);

/* Parts of a path after "/v1/": at most four, in place. */
struct adv_route {
	char text[256];
	const char *part[4];
	unsigned nr_parts;
};

/* One field that a request's object may have. */
enum adv_field_type {
	ADV_FIELD_STRING, /* const char *: lives as long as the object */
	ADV_FIELD_U64,
	ADV_FIELD_HOT, /* uint64_t, microseconds; UINT64_MAX always */
};
struct adv_field {
	const char *name;
	enum adv_field_type type;
	void *to; /* left alone when the field is missing */
};

/* Reads the fields. False: one is unknown or of the wrong type, and the request is answered. */
bool adv_api_fields(struct adv_http_request *request, json_t *object,
		    const struct adv_field *fields, size_t nr_fields);

void adv_api_modules(struct adv_control *control, struct adv_http_request *request,
		     const struct adv_route *route);
void adv_api_leases(struct adv_control *control, struct adv_http_request *request,
		    const struct adv_route *route);

void adv_api_bill(struct adv_control *control, struct adv_http_request *request);
void adv_api_accounts(struct adv_control *control, struct adv_http_request *request);

/* Answers a request for a lease, which has become this one. */
void adv_api_lease_granted(struct adv_http_request *request, struct adv_held *held);

/* ---- requests for leases ---- */

/* Grants or refuses it, at once or as soon as there is room within wish->wait_ms; answers the request. `remote` NULL: a local lease. */
void adv_admission_begin(struct adv_control *control, struct adv_http_request *request,
			 struct adv_module *module, const struct adv_lease_wish *wish,
			 const struct adv_remote_wish *remote);
void adv_admission_init(struct adv_control *control);
void adv_admission_room(struct adv_control *control); /* a lease is over, or more are allowed */
void adv_admission_refuse_all(struct adv_control *control, const char *reason);

/* ---- handing cores back ---- */

/* POST /v1/drain and /v1/resume. */
void adv_api_drain(struct adv_control *control, struct adv_http_request *request);
void adv_api_resume(struct adv_control *control, struct adv_http_request *request);
void adv_drain_look(struct adv_control *control); /* a lease is over: are the cores idle? */
json_t *adv_drain_json(const struct adv_control *control); /* NULL: the node is not drained */
json_t *adv_api_status(struct adv_control *control, uint32_t tenant);
json_t *adv_ledger_line_json(const struct adv_ledger_line *line);

/* The module of a path's name as the peer sees it; NULL: refused already. */
struct adv_module *adv_api_module(struct adv_control *control, struct adv_http_request *request,
				  const char *name);

/* Takes the bytes of a PUT and answers when the module is stored or refused. */
void adv_deploy_begin(struct adv_control *control, struct adv_http_request *request,
		      const char *name);
void adv_deploy_handle(struct adv_control *control, struct adv_http_request *request,
		       const char *name);
json_t *adv_module_json(const struct adv_module *module);
void adv_api_logs(struct adv_control *control, struct adv_http_request *request, const char *name);
/* A function printed a line: it is kept, and who waits for it is told. */
void adv_api_logs_printed(struct adv_control *control, const struct adv_module *module,
			  uint32_t tenant, uint32_t sandbox, const char *text);
void adv_api_logs_end(struct adv_control *control); /* nobody waits any more; answers nothing */

void adv_waiting_start(struct adv_waiting *waiting, struct adv_http_request *request);

#endif
