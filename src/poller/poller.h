/*
 * poller.h - a pinned thread that moves verbs traffic in and out of lanes: it polls its links' completion queues, and the lanes in flight.
 *
 * A poller with nothing hot arms its queues and blocks: it costs nothing then, and is back without losing an event. One that shares its
 * core with workers does not spin: it gives way to them for a short while, then it blocks.
 *
 * The control thread gives it links and leases by messages. Each message comes back when it is carried out; until then it, and what it
 * points at, is the poller's. All functions here are the control thread's.
 */
#ifndef ADVERB_POLLER_POLLER_H
#define ADVERB_POLLER_POLLER_H

#include "fabric/pingpong.h"
#include "poller/relay.h"
#include "util/mailbox.h"

struct adv_poller;
struct adv_poller_message;

/* A link as a poller holds it. The storage is the control thread's, from ADD until REMOVE has come back. */
struct adv_poller_link {
	struct adv_link link;
	struct ibv_comp_channel *channel; /* of its completion queue; non-blocking */
	void *user;
	/* the poller's own */
	struct adv_poller_link *previous, *next;
	struct adv_relay *relay;	   /* the lease it carries; NULL: none */
	struct adv_pong *pong;		   /* or the ping-pong; the control thread's storage */
	int event_fd;			   /* of that lease */
	unsigned nr_events;		   /* taken from the channel and not acknowledged */
	struct adv_poller_message *detach; /* under way */
	struct adv_poller_message
		*broken; /* sent back as ADV_POLLER_BROKEN, once; the control thread's storage */
};

enum adv_poller_order {
	ADV_POLLER_ADD, /* a link, and `relay` if not NULL: receives are posted, nothing has come yet */
	ADV_POLLER_ATTACH, /* `relay` to a link that carries none */
	ADV_POLLER_LINE,   /* the node line of `lane` (UINT32_MAX: of all) has changed */
	/*
	 * Carries the node lines that have changed, then nothing more; comes back when its own work requests are complete and the client
	 * is quiet: `clean` is true then, and the link stays. Or when the link is broken, or after GIVE_UP: then it is false, and the poller
	 * has forgotten the link.
	 */
	ADV_POLLER_DETACH,
	ADV_POLLER_GIVE_UP, /* ends a DETACH that waits */
	ADV_POLLER_REMOVE,  /* a link that carries no lease is forgotten */
	ADV_POLLER_BROKEN,  /* from the poller, once for each link: it does not work any more */
	ADV_POLLER_STOP,
};

struct adv_poller_message {
	struct adv_mail mail; /* first */
	enum adv_poller_order order;
	struct adv_poller_link *link;
	struct adv_relay *relay;
	int event_fd;
	uint32_t lane;
	bool clean;
	void (*done)(struct adv_poller_message *message); /* on the control thread */
	void *user;
};

struct adv_poller_options {
	int cpu; /* pinned to; -1: not */
	bool shared; /* the core is shared with workers: give way to them, and block, instead of spinning */
};

/* Starts the thread. 0 or -errno. */
int adv_poller_create(const struct adv_poller_options *options, struct adv_poller **poller);

/* Ends the thread; links and messages that it still holds are the owner's again. */
void adv_poller_destroy(struct adv_poller *poller);

/* `message` stays where it is until its `done` was called. Never blocks. */
void adv_poller_send(struct adv_poller *poller, struct adv_poller_message *message);

/* Readable when messages have come back; then adv_poller_collect() calls their `done`. */
int adv_poller_fd(const struct adv_poller *poller);
void adv_poller_collect(struct adv_poller *poller);

struct adv_poller_stats {
	uint64_t passes, sleeps, polled_ns;
	int cpu;
	bool shared;
	uint32_t nr_links;
};
void adv_poller_stats(const struct adv_poller *poller, struct adv_poller_stats *stats);

#endif
