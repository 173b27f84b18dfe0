/*
 * remote.h - leases over verbs as the control thread holds them: who connected, what is registered for whom, which poller carries it.
 * Control thread only, nothing here blocks: registering and connecting run on a thread of their own, and are reported by callbacks.
 *
 *	remote.c           a lease: its regions, its link, its end
 *	remote_links.c     connections: listening, clients and their protection domains, queue pairs
 *	remote_pingpong.c  a bare ping-pong beside a lease, to measure against
 *
 * A client process has one protection domain for each node; a lease has one queue pair to itself, which goes to the next lease of that
 * process when it ends well. So no lease waits behind another's payload, and a client that writes too late loses its own link alone.
 */
#ifndef ADVERB_CONTROL_REMOTE_H
#define ADVERB_CONTROL_REMOTE_H

#include <jansson.h>
#include <sys/socket.h>

#include "adverb/status.h"
#include "control/lanes.h"
#include "control/loop.h"
#include "util/limits.h"

#define ADV_CLIENT_ID_BYTES 16

struct adv_remotes;
struct adv_remote;

enum adv_placement {
	ADV_PLACEMENT_AUTO,
	ADV_PLACEMENT_MEMORY,	 /* the device places in order: memory is polled */
	ADV_PLACEMENT_IMMEDIATE, /* entries are handed over by the completions of their immediates */
};

struct adv_remotes_options {
	struct adv_loop *loop;
	struct sockaddr_storage address; /* of one device of this machine, with the port */
	enum adv_placement placement;
	unsigned nr_pollers;
	struct {
		int cpu; /* -1: not pinned */
		bool shared;
	} pollers[ADV_POLLERS_MAX];
};

/* Binds to the device and listens. 0 or -errno with `reason`: what is missing and how to get it. */
int adv_remotes_create(const struct adv_remotes_options *options, struct adv_remotes **remotes,
		       char *reason, size_t reason_size);

/* Ends pollers, queue pairs and regions of whatever leases are left; `ended` is not called for these. Blocks. */
void adv_remotes_destroy(struct adv_remotes *remotes);
json_t *adv_remotes_status(const struct adv_remotes *remotes);

/* What a client asks for beside the lease itself. */
struct adv_remote_wish {
	uint8_t client[ADV_CLIENT_ID_BYTES]; /* chosen at random by the process */
	uint32_t link;			     /* a link that it has at rest; 0: it will connect */
	uint64_t mirror;		     /* the address of its mirror, as its device knows it */
	uint32_t mirror_rkey;
	bool hand_over; /* its device does not place in order */
};

/* One lease's end of it. Callbacks come from the loop, never from inside a call. */
struct adv_remote_options {
	struct adv_remote_wish wish;
	const struct adv_geometry *geometry; /* these two outlive the remote lease */
	const struct adv_lane_memory *memory;
	uint64_t lease;
	uint32_t tenant;
	uint8_t token[ADV_TOKEN_BYTES];
	uint64_t hot_us;
	/* It can be granted, or not and why. Once. */
	void (*ready)(void *user, enum adv_status status, const char *reason);
	/* Its link does not work any more, or was never made: the lease is to end. */
	void (*gone)(void *user, const char *reason);
	/* After adv_remote_end(): nothing of the lease's memory is in use by a device any more, and the remote is no more. */
	void (*ended)(void *user);
	void *user;
};

/* ADV_OK: `ready` will be called. ADV_NO_CAPACITY, ADV_NO_MEMORY: it will not, nothing is held. */
enum adv_status adv_remote_open(struct adv_remotes *remotes,
				const struct adv_remote_options *options,
				struct adv_remote **remote);

/* What the client needs to know: after `ready`. */
json_t *adv_remote_json(const struct adv_remote *remote);

/* A node line has changed: it is carried to the client. UINT32_MAX: of every lane. */
void adv_remote_line_changed(struct adv_remote *remote, uint32_t lane);

/* Carries the last node lines and ends it. `gone`: nobody is there to be waited for. Again is ignored. */
void adv_remote_end(struct adv_remote *remote, bool gone);

/* Do worker and poller share a core, so that neither may spin? For the worker's order: before `ready` already. */
bool adv_remotes_share(const struct adv_remotes *remotes, int cpu);

#endif
