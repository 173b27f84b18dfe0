/*
 * relay.h - the node's half of one verbs lease: what comes over its link wakes workers, what workers publish goes over its link.
 *
 * Made and ended by the control thread; in between its poller's alone. Nothing here blocks, allocates, locks or logs; the only system
 * call is the wake-up of a worker that sleeps. Nothing that the client or a worker wrote is trusted: entries are copied out once.
 * The protocol is in src/fabric/wire.h and docs/verbs.md.
 */
#ifndef ADVERB_POLLER_RELAY_H
#define ADVERB_POLLER_RELAY_H

#include "fabric/link.h"
#include "fabric/wire.h"
#include "lane/lane.h"

/* One lane. Two cache lines: what a call touches lies in the first. */
struct adv_relay_lane {
	const struct adv_entry *completions; /* written by the worker */
	const struct adv_worker_line *worker_line;
	struct adv_entry *requests; /* that the worker polls */
	struct adv_caller_line *caller_line;
	uint32_t completion_seq; /* the next to be carried */
	uint32_t request_seq;	 /* the highest that an immediate has announced */
	uint16_t index;		 /* in its lease */
	uint16_t epoch;
	bool active;	 /* listed: calls are in flight */
	bool armed;	 /* the client waits for an immediate */
	bool line_dirty; /* the node line is to be carried */
	/* rarely */
	uint32_t sent_state
		__attribute__((aligned(ADV_CACHE_LINE))); /* of the node line as carried */
	const struct adv_arm_line *arm;
	const struct adv_node_line *node_line;
	const struct adv_entry
		*landing; /* where the device puts entries; NULL: straight into `requests` */
};

/* What both sides' memory is called. */
struct adv_relay_options {
	const struct adv_geometry *geometry; /* outlives the relay */
	void *req;			     /* the node's mappings of the whole memfds */
	void *cpl;
	void *slots;
	const void *landing; /* laid out as req; NULL: entries are placed straight into req */
	uint32_t slots_lkey;
	uint64_t mirror; /* the client's address of it */
	uint32_t mirror_rkey;
	void *staging; /* a line for each entry of each lane, registered; NULL: entries go inline */
	uint32_t staging_lkey;
	uint8_t tag; /* which use of the link this is: older immediates are not ours */
	bool hand_over; /* every completion carries an immediate: the client's device does not place in order */
	uint64_t hot_ns; /* the poller spins so long after a call; UINT64_MAX always */
	struct adv_relay_lane
		*lanes;	  /* the owner's storage: nr_lanes, zeroed, aligned to cache lines */
	uint16_t *active; /* room for nr_lanes */
};

struct adv_relay {
	struct adv_link *link;
	struct adv_relay_options options;
	uint32_t nr_active;
	uint32_t nr_dirty;     /* lanes whose node line is to be carried */
	uint64_t mirror_slots; /* where slots begin in the mirror */
	uint64_t calls;	       /* announced */
	uint64_t carried;      /* completions */
	uint32_t last_ns;      /* that the last of them had run, by its worker's word */
	uint64_t wakes, stray; /* workers woken; immediates that made no sense */
	bool quiet;	       /* the client has said that it writes no more */
	bool ending;	       /* nothing more is carried but node lines */
	bool stalled;	       /* the send queue was full: there is more to carry */
};

/* Begins with what the node lines say; where that is not epoch 1, the client is told. */
void adv_relay_init(struct adv_relay *relay, struct adv_link *link,
		    const struct adv_relay_options *options);

/* One immediate that came over the link. */
void adv_relay_hear(struct adv_relay *relay, uint32_t immediate);

/* Carries what workers have published, and node lines that have changed. Returns how much: 0: there was nothing. */
unsigned adv_relay_carry(struct adv_relay *relay);

/* The node line of a lane has changed, or (lane == UINT32_MAX) of all. */
void adv_relay_line_changed(struct adv_relay *relay, uint32_t lane);

/*
 * Asks workers to signal completions by the lease's eventfd. False: something was published meanwhile, and they are told otherwise
 * again. Pairs with the worker's fence between a completion and its look at the state.
 */
bool adv_relay_sleep(struct adv_relay *relay);
void adv_relay_awake(struct adv_relay *relay);

#endif
