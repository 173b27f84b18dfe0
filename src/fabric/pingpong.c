/* pingpong.c - pings and pongs, to measure calls against. The thread that the link belongs to. */
#include "fabric/pingpong.h"

#include <errno.h>
#include <string.h>

static uint64_t place_of(const struct adv_ping_terms *t, uint64_t number)
{
	return ADV_PAGE + number % t->places * adv_ping_stride(t->bytes);
}

/* ---- asking ---- */

int adv_ping_begin(struct adv_ping *p, const struct adv_ping_terms *terms, void *page)
{
	struct adv_post post;
	memcpy(page, terms, sizeof(*terms));
	p->terms = *terms;
	p->sent = 0;
	adv_post_begin(&post);
	adv_post_write(&post, p->link, page, sizeof(*terms), p->lkey, 0, p->rkey);
	adv_post_immediate(&post, adv_wire_pack(ADV_WIRE_TERMS, 0, 0));
	return adv_link_post(p->link, &post, false);
}

int adv_ping_send(struct adv_ping *p, bool last)
{
	uint64_t place = place_of(&p->terms, p->sent);
	struct adv_post post;
	adv_post_begin(&post);
	adv_post_write(&post, p->link, p->from + place, p->terms.bytes, p->lkey, place, p->rkey);
	adv_post_immediate(&post, adv_wire_pack(last ? ADV_WIRE_PING_LAST : ADV_WIRE_PING, 0,
						(uint32_t)p->sent));
	int rc = adv_link_post(p->link, &post, false);
	if (rc == 0)
		p->sent++;
	return rc;
}

/* ---- answering ---- */

/* Copied out once. Terms that do not fit the region are none. */
static void heard_terms(struct adv_pong *p)
{
	struct adv_ping_terms t;
	memcpy(&t, p->region, sizeof(t));
	p->heard = p->answered = 0;
	p->spinning = false;
	memset(&p->terms, 0, sizeof(p->terms));
	if (t.bytes > ADV_PINGPONG_BYTES_MAX || t.places == 0 ||
	    t.places != adv_ping_places(t.bytes, t.places)) {
		p->stray++;
		return;
	}
	p->terms = t;
}

void adv_pong_hear(struct adv_pong *p, uint32_t immediate)
{
	struct adv_wire_immediate i = adv_wire_unpack(immediate);
	bool ping = i.kind == ADV_WIRE_PING || i.kind == ADV_WIRE_PING_LAST;
	if (i.kind == ADV_WIRE_TERMS) {
		heard_terms(p);
	} else if (ping && p->terms.places > 0) {
		p->heard++;
		p->spinning = i.kind == ADV_WIRE_PING && !(p->terms.flags & ADV_PING_BLOCKING);
	} else {
		p->stray++;
	}
}

unsigned adv_pong_answer(struct adv_pong *p, struct adv_link *link)
{
	const struct adv_ping_terms *t = &p->terms;
	unsigned n = 0;
	while (p->answered != p->heard && n < ADV_LINK_POLL_MAX && adv_link_room(link, 1)) {
		uint64_t place = place_of(t, p->answered);
		struct adv_post post;
		adv_post_begin(&post);
		adv_post_write(&post, link, p->region + place, t->bytes, p->lkey, t->mirror + place,
			       t->mirror_rkey);
		adv_post_immediate(&post, adv_wire_pack(ADV_WIRE_PONG, 0, (uint32_t)p->answered));
		if (adv_link_post(link, &post, false) < 0)
			break;
		p->answered++;
		n++;
	}
	return n;
}
