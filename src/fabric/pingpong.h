/*
 * pingpong.h - the bare fabric that calls over verbs are measured against: an RDMA WRITE WITH IMMEDIATE there, one of as many bytes back.
 * A queue pair carries a ping-pong or a lease, never both. Pings are sent on a client's thread and answered on a poller; nothing here
 * blocks, allocates or locks. What the other side says is trusted only as far as a queue pair of its own goes.
 *
 * The answering side has a region that is addressed from 0. The asking side writes its terms to the beginning, with the immediate TERMS, and then
 * pings: number k behind the terms, from 0, is `bytes` written to place k % places of the region, and comes back into the same place of
 * the asking side's mirror. Places begin at a page, behind the terms in the region; each takes a multiple of a cache line.
 */
#ifndef ADVERB_FABRIC_PINGPONG_H
#define ADVERB_FABRIC_PINGPONG_H

#include "fabric/link.h"
#include "fabric/wire.h"
#include "util/limits.h"

#define ADV_PINGPONG_REGION (ADV_PAGE + ADV_PINGPONG_BYTES_MAX)

static inline uint32_t adv_ping_stride(uint32_t bytes)
{
	return bytes <= ADV_CACHE_LINE ? ADV_CACHE_LINE
				       : (bytes + ADV_CACHE_LINE - 1) & ~(ADV_CACHE_LINE - 1u);
}

/* How many of `wanted` places fit, at least 1. */
static inline uint32_t adv_ping_places(uint32_t bytes, uint32_t wanted)
{
	uint32_t room = (uint32_t)(ADV_PINGPONG_BYTES_MAX / adv_ping_stride(bytes));
	return wanted < room ? wanted : room;
}

/* ---- the asking side ---- */

struct adv_ping {
	struct adv_link *link;
	uint32_t rkey;		     /* of the other side's region */
	struct adv_ping_terms terms; /* as said last */
	uint64_t sent;		     /* behind them */
	const uint8_t *from;	     /* what is sent: places as in the region, registered */
	uint32_t lkey;
};

/* Says new terms; nothing may be under way. `page` is registered memory that is read from until the next pong. 0 or as adv_link_post() */
int adv_ping_begin(struct adv_ping *ping, const struct adv_ping_terms *terms, void *page);

/* Sends the next. `last`: the other side need not wait for more. 0 or as adv_link_post() */
int adv_ping_send(struct adv_ping *ping, bool last);

/* ---- the answering side ---- */

struct adv_pong {
	uint8_t *region;	     /* ADV_PINGPONG_REGION bytes */
	uint32_t lkey;		     /* of it, by its own addresses */
	struct adv_ping_terms terms; /* zeroed: none yet */
	uint64_t heard, answered;    /* behind them */
	uint64_t stray;		     /* immediates that made no sense */
	bool spinning;		     /* another ping is about to come */
};

/* One immediate that came over the link. */
void adv_pong_hear(struct adv_pong *pong, uint32_t immediate);

/* Answers what was heard. Returns how many answers were sent: 0: there was nothing, or no room. */
unsigned adv_pong_answer(struct adv_pong *pong, struct adv_link *link);

#endif
