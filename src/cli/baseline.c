/* baseline.c - what adverb latency compares with: two CPUs and a cache line, or the same fabric without Adverb. Main thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/latency.h"
#include "client/internal.h"
#include "client/pingpong.h"
#include "lane/pingpong.h"
#include "util/clock.h"
#include "util/limits.h"

#define PAYLOAD_MIN 4096

struct latency_baseline {
	struct adv_pingpong *local;
	struct adv_verbs_pingpong *verbs;
};

#if ADV_HAVE_VERBS
static enum adv_status start_verbs(struct latency_baseline *b, struct adv_lease *lease,
				   const struct latency_row *row, char *reason, size_t size)
{
	if (row->payload > ADV_PINGPONG_BYTES_MAX || row->inflight > ADV_PINGPONG_DEPTH_MAX) {
		snprintf(reason, size,
			 "the baseline over RDMA carries at most %llu MiB and keeps at most %d in "
			 "flight",
			 (unsigned long long)(ADV_PINGPONG_BYTES_MAX / ADV_MIB),
			 ADV_PINGPONG_DEPTH_MAX);
		return ADV_INVALID;
	}
	enum adv_status status = adv_verbs_pingpong_start(lease, &b->verbs);
	if (status != ADV_OK)
		snprintf(reason, size, "no baseline: %s", adv_error());
	return status;
}

static enum adv_status run_verbs(struct latency_baseline *b,
				 const struct latency_baseline_block *block, uint64_t *spent_ns,
				 char *reason, size_t size)
{
	const struct adv_verbs_pingpong_block run = {.bytes = block->payload,
						     .inflight = block->inflight,
						     .blocking = block->warm,
						     .gap_ns = block->gap_ns,
						     .duration_ns = block->duration_ns,
						     .count = block->count,
						     .sample = block->sample,
						     .user = block->user};
	enum adv_status status = adv_verbs_pingpong_block(b->verbs, &run, spent_ns);
	if (status != ADV_OK)
		snprintf(reason, size, "%s", adv_error());
	return status;
}
#endif

static enum adv_status start_local(struct latency_baseline *b, struct adv_lease *lease,
				   const struct latency_row *row, char *reason, size_t size)
{
	int cpu = adv_lease_cpu(lease, 0);
	int rc = adv_pingpong_start(cpu, row->payload > PAYLOAD_MIN ? row->payload : PAYLOAD_MIN,
				    &b->local);
	if (rc == 0)
		return ADV_OK;
	snprintf(reason, size, "the baseline cannot run on CPU %d: %s", cpu, strerror(-rc));
	return ADV_SYSTEM;
}

static enum adv_status run_local(struct latency_baseline *b,
				 const struct latency_baseline_block *block, uint64_t *spent_ns,
				 char *reason, size_t size)
{
	uint64_t start = adv_clock_monotonic_ns();
	int rc = adv_pingpong_block(b->local, block->warm, block->payload, block->duration_ns,
				    block->count, block->gap_ns, block->sample, block->user);
	*spent_ns = adv_clock_monotonic_ns() - start;
	if (rc == 0)
		return ADV_OK;
	snprintf(reason, size, "the baseline's child process died");
	return ADV_SYSTEM;
}

bool latency_over_verbs(const struct adv_lease *lease)
{
	return lease->verbs != NULL;
}

enum adv_status latency_baseline_start(struct adv_lease *lease, const struct latency_row *row,
				       struct latency_baseline **out, char *reason, size_t size)
{
	struct latency_baseline *b = calloc(1, sizeof(*b));
	if (b == NULL) {
		snprintf(reason, size, "no memory for the baseline");
		return ADV_NO_MEMORY;
	}
	enum adv_status status;
#if ADV_HAVE_VERBS
	if (latency_over_verbs(lease))
		status = start_verbs(b, lease, row, reason, size);
	else
#endif
		status = start_local(b, lease, row, reason, size);
	if (status != ADV_OK) {
		free(b);
		return status;
	}
	*out = b;
	return ADV_OK;
}

enum adv_status latency_baseline_run(struct latency_baseline *b,
				     const struct latency_baseline_block *block, uint64_t *spent_ns,
				     char *reason, size_t size)
{
#if ADV_HAVE_VERBS
	if (b->verbs != NULL)
		return run_verbs(b, block, spent_ns, reason, size);
#endif
	return run_local(b, block, spent_ns, reason, size);
}

void latency_baseline_stop(struct latency_baseline *b)
{
	if (b == NULL)
		return;
#if ADV_HAVE_VERBS
	adv_verbs_pingpong_stop(b->verbs);
#endif
	adv_pingpong_stop(b->local);
	free(b);
}
