/* remote_pingpong.c - a bare ping-pong beside a lease, for its client to measure against: bounds, its region. Control thread; what blocks is a job. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "control/remote_internal.h"
#include "util/log.h"

/* One that is gone is on its way out. */
static bool is_here(const struct adv_remote_link *l)
{
	return l->pingpong && !l->gone && l->state != ADV_RLINK_LEAVING;
}

unsigned adv_remote_pingpongs(const struct adv_remotes *o)
{
	unsigned n = 0;
	for (const struct adv_remote_link *l = o->links; l != NULL; l = l->next)
		n += l->pingpong;
	return n;
}

const char *adv_remote_pingpong_refusal(const struct adv_remote *r)
{
	if (r->state != ADV_REMOTE_RUNNING)
		return "a ping-pong goes beside a lease that is connected";
	for (const struct adv_remote_link *l = r->owner->links; l != NULL; l = l->next)
		if (is_here(l) && l->lease == r->options.lease)
			return "the lease has a ping-pong already";
	if (adv_remote_pingpongs(r->owner) >= ADV_PINGPONGS_MAX)
		return "the node has as many ping-pongs as it allows";
	return NULL;
}

void adv_remote_pingpong_end(struct adv_remote *r)
{
	for (struct adv_remote_link *l = r->owner->links, *next; l != NULL; l = next) {
		next = l->next;
		if (is_here(l) && l->lease == r->options.lease)
			adv_remote_link_gone(l, "the lease is over");
	}
}

/* ---- on the jobs' thread ---- */

static int fail(struct adv_remote_link *l)
{
	snprintf(l->reason, sizeof(l->reason), "no memory for a ping-pong: %s", strerror(errno));
	return -errno;
}

int adv_remote_pingpong_make(struct adv_remote_link *l)
{
	struct ibv_pd *pd = l->client->pd;
	void *region = mmap(NULL, ADV_PINGPONG_REGION, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED)
		return fail(l);
	l->pong.region = region;
	l->pong_mr = adv_memory_register(pd, region, ADV_PINGPONG_REGION, 0,
					 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE,
					 l->reason, sizeof(l->reason));
	if (l->pong_mr != NULL)
		l->pong_out_mr =
			adv_memory_register(pd, region, ADV_PINGPONG_REGION, (uintptr_t)region, 0,
					    l->reason, sizeof(l->reason));
	if (l->pong_out_mr == NULL)
		return -ENOMEM;
	l->pong.lkey = l->pong_out_mr->lkey;
	l->poll.pong = &l->pong;
	return 0;
}

static void deregister(struct ibv_mr *mr)
{
	int rc = mr != NULL ? ibv_dereg_mr(mr) : 0;
	if (rc != 0)
		adv_log_error("a ping-pong's region could not be given back: %s", strerror(rc));
}

void adv_remote_pingpong_free(struct adv_remote_link *l)
{
	deregister(l->pong_mr);
	deregister(l->pong_out_mr);
	if (l->pong.region != NULL)
		munmap(l->pong.region, ADV_PINGPONG_REGION);
}
