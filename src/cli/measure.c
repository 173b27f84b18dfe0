/*
 * measure.c - one row of adverb latency. Main thread, pinned.
 *
 * Baseline and subject alternate in blocks of at most 20 ms on the same two CPUs, or over RDMA between the same two processes, and the ratio is
 * taken block by block: these machines change their speed from one second to the next. Between blocks the other side sleeps: the worker (over
 * RDMA the poller too) by its hot window, the ping-pong because it is told so.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cli/latency.h"
#include "lane/lane_worker.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/limits.h"

#define BLOCK_NS     (10 * ADV_MS)
#define NR_BLOCKS    40
#define HOT_US	     2000 /* with a baseline: the worker is asleep soon after its block */
#define ASLEEP_NS    (4 * ADV_MS)
#define WARM_GAP_NS  (60 * ADV_US) /* so that the peer sleeps before each call */
#define WARM_UP	     64		   /* calls before those that count, */
#define WARM_UP_NS   (2 * ADV_MS)  /* or as many as fit in this */
#define COLD_REST_NS (15 * ADV_MS) /* for the pool to refill */
#define TIMEOUT_US   (5 * 1000 * 1000)

#define HOT_COUNT   400000
#define VERBS_COUNT 40000
#define WARM_COUNT  4000
#define COLD_COUNT  100

extern const uint8_t adv_echo_image[], adv_echo_image_end[];

/* What one row needs while it is measured. */
struct bench {
	struct adv_lease *lease;
	struct latency_baseline *baseline;
	uint32_t function;
	struct latency_row *row;
	struct adv_ticks ticks;
	uint8_t *in, *out;
	struct adv_histogram *block; /* samples of the block under way */
	char *reason;
	size_t reason_size;
};

static enum adv_status failed(struct bench *b, enum adv_status status)
{
	snprintf(b->reason, b->reason_size, "%s", adv_error());
	return status;
}

static void rest(uint64_t ns)
{
	struct timespec t = {.tv_sec = (time_t)(ns / ADV_SEC), .tv_nsec = (long)(ns % ADV_SEC)};
	nanosleep(&t, NULL);
}

static void gap(const struct bench *b, uint64_t ns)
{
	uint64_t start = adv_ticks_now(&b->ticks);
	while (adv_ticks_ns(&b->ticks, adv_ticks_now(&b->ticks) - start) < ns)
		adv_pause();
}

/* ---- the built-in echo ---- */

/* The same bytes need no second deploy: its size tells, and its name is our own. */
static bool is_there(struct adv_node *node, const char *name, size_t size)
{
	char path[128];
	struct adv_control_reply reply = {0};
	bool there = false;
	snprintf(path, sizeof(path), "/v1/modules/%s", name);
	if (adv_control(node, "GET", path, NULL, 0, 0, &reply) == ADV_OK) {
		json_t *answer = json_loadb(reply.body, reply.body_size, 0, NULL);
		const json_t *module = json_object_get(answer, "module");
		there = json_integer_value(json_object_get(module, "size")) == (json_int_t)size &&
			json_integer_value(json_object_get(module, "owner")) ==
				(json_int_t)getuid();
		json_decref(answer);
	}
	adv_control_reply_free(&reply);
	return there;
}

enum adv_status latency_deploy_echo(struct adv_node *node, const char *name, int hot, char *reason,
				    size_t size)
{
	size_t bytes = (size_t)(adv_echo_image_end - adv_echo_image);
	char path[64];
	if (is_there(node, name, bytes))
		return ADV_OK;
	int fd ADV_CLEANUP_FD = memfd_create("adverb-echo", MFD_CLOEXEC);
	if (fd < 0 || write(fd, adv_echo_image, bytes) != (ssize_t)bytes) {
		snprintf(reason, size, "cannot write the built-in echo to memory: %m");
		return ADV_SYSTEM;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	enum adv_status status =
		adv_deploy(node, name, path, hot >= 0 ? ADV_DEPLOY_HOT((uint32_t)hot) : 0);
	if (status != ADV_OK)
		snprintf(reason, size, "%s", adv_error());
	return status;
}

/* ---- one call at a time ---- */

static void keep(void *user, uint64_t ns)
{
	struct bench *b = user;
	adv_histogram_add(b->block, ns);
}

static enum adv_status call(struct bench *b)
{
	uint32_t n;
	enum adv_status status = adv_invoke(
		b->lease, b->function, b->in, b->row->payload, b->out,
		b->row->payload > ADV_INLINE_MAX ? b->row->payload : 4096, &n, TIMEOUT_US);
	if (status == ADV_OK || status == ADV_FUNCTION_FAILED)
		return ADV_OK;
	snprintf(b->reason, b->reason_size, "a call failed: %s", adv_status_text(status));
	return status;
}

static enum adv_status warm_up(struct bench *b, bool warm)
{
	uint64_t start = adv_ticks_now(&b->ticks);
	enum adv_status status = ADV_OK;
	for (int i = 0; i < (warm ? 1 : WARM_UP) && status == ADV_OK; i++) {
		status = call(b);
		if (adv_ticks_ns(&b->ticks, adv_ticks_now(&b->ticks) - start) >= WARM_UP_NS)
			break;
	}
	return status;
}

static enum adv_status subject_block(struct bench *b, bool warm, uint64_t duration_ns,
				     uint64_t count)
{
	enum adv_status status = warm_up(b, warm);
	uint64_t start = adv_ticks_now(&b->ticks);
	uint64_t t1 = start;
	for (uint64_t i = 0; i < count && status == ADV_OK; i++) {
		if (warm)
			gap(b, WARM_GAP_NS);
		uint64_t t0 = adv_ticks_now(&b->ticks);
		status = call(b);
		t1 = adv_ticks_now(&b->ticks);
		adv_histogram_add(b->block, adv_ticks_ns(&b->ticks, t1 - t0));
		if (adv_ticks_ns(&b->ticks, t1 - start) >= duration_ns)
			break;
	}
	b->row->subject_ns += adv_ticks_ns(&b->ticks, t1 - start);
	return status;
}

/* ---- many in flight ---- */

static enum adv_status submit(struct bench *b)
{
	const struct adv_request request = {.size = sizeof(request),
					    .function = b->function,
					    .worker = ADV_ANY_WORKER,
					    .in = b->in,
					    .in_size = b->row->payload,
					    .out = b->out,
					    .out_capacity = 1u << 20,
					    .timeout_us = TIMEOUT_US,
					    .user_data = adv_ticks_now(&b->ticks)};
	return adv_submit(b->lease, &request, NULL);
}

/* Until `count` calls are submitted or the time is over, and all of them are done. */
static enum adv_status flood(struct bench *b, uint64_t duration_ns, uint64_t count)
{
	struct adv_completion done[64];
	uint64_t submitted = 0, completed = 0;
	enum adv_status status = warm_up(b, false);
	if (status != ADV_OK)
		return status;
	uint32_t limit = b->row->inflight;
	uint64_t start = adv_ticks_now(&b->ticks);
	while (completed < count) {
		while (submitted < count && submitted - completed < limit) {
			status = submit(b);
			if (status == ADV_BUSY)
				break;
			if (status != ADV_OK)
				return failed(b, status);
			submitted++;
		}
		unsigned n = adv_poll(b->lease, done, 64);
		uint64_t now = n > 0 ? adv_ticks_now(&b->ticks) : 0;
		for (unsigned i = 0; i < n; i++) {
			if (done[i].status != ADV_OK) {
				snprintf(b->reason, b->reason_size, "a call failed: %s",
					 adv_status_text(done[i].status));
				return (enum adv_status)done[i].status;
			}
			adv_histogram_add(b->block,
					  adv_ticks_ns(&b->ticks, now - done[i].user_data));
		}
		completed += n;
		if (n > 0 && adv_ticks_ns(&b->ticks, now - start) >= duration_ns)
			count = submitted;
		if (n == 0)
			adv_pause();
	}
	b->row->subject_ns += adv_ticks_ns(&b->ticks, adv_ticks_now(&b->ticks) - start);
	return ADV_OK;
}

/* ---- baseline and subject ---- */

static enum adv_status baseline_block(struct bench *b, bool warm, uint64_t count)
{
	const struct latency_baseline_block block = {.warm = warm,
						     .payload = b->row->payload,
						     .inflight = b->row->inflight,
						     .duration_ns = BLOCK_NS,
						     .count = count,
						     .gap_ns = warm ? WARM_GAP_NS : 0,
						     .sample = keep,
						     .user = b};
	uint64_t spent_ns = 0;
	enum adv_status status =
		latency_baseline_run(b->baseline, &block, &spent_ns, b->reason, b->reason_size);
	b->row->baseline_ns += spent_ns;
	return status;
}

static void compare(struct latency_row *row, const struct adv_histogram *subject,
		    uint64_t subject_ns, const struct adv_histogram *baseline, uint64_t baseline_ns)
{
	double base = (double)adv_histogram_quantile(baseline, 0.5);
	if (row->nr_ratios < LATENCY_BLOCKS_MAX && subject_ns > 0 && baseline_ns > 0) {
		row->ratios[row->nr_ratios] = (double)adv_histogram_quantile(subject, 0.5) / base;
		row->rates[row->nr_ratios++] = (double)subject->count / (double)subject_ns /
					       ((double)baseline->count / (double)baseline_ns);
	}
	if (row->baseline_low == 0 || base < row->baseline_low)
		row->baseline_low = base;
	if (base > row->baseline_high)
		row->baseline_high = base;
	adv_histogram_merge(&row->subject, subject);
	adv_histogram_merge(&row->baseline, baseline);
}

/* A pair of blocks; which comes first alternates, so that a drift of the machine favours neither. */
static enum adv_status pair(struct bench *b, bool warm, uint64_t count, bool subject_first)
{
	static struct adv_histogram subject, baseline;
	struct latency_row *row = b->row;
	uint64_t subject_ns = row->subject_ns, baseline_ns = row->baseline_ns;
	enum adv_status status = ADV_OK;
	adv_histogram_reset(&subject);
	adv_histogram_reset(&baseline);
	for (int turn = 0; turn < 2 && status == ADV_OK; turn++) {
		if ((turn == 0) != subject_first) {
			b->block = &baseline;
			status = baseline_block(b, warm, count);
			continue;
		}
		b->block = &subject;
		status = row->inflight > 1 ? flood(b, BLOCK_NS, count)
					   : subject_block(b, warm, BLOCK_NS, count);
		rest(ASLEEP_NS);
	}
	if (status == ADV_OK && subject.count > 0 && baseline.count > 0)
		compare(row, &subject, row->subject_ns - subject_ns, &baseline,
			row->baseline_ns - baseline_ns);
	return status;
}

/* ---- setting up ---- */

/* Away from the worker's CPU, when there is another one. */
static void pin_away(int cpu)
{
	cpu_set_t set, all;
	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		return;
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &all) || i == cpu)
			continue;
		CPU_ZERO(&set);
		CPU_SET(i, &set);
		sched_setaffinity(0, sizeof(set), &set);
		return;
	}
}

static enum adv_status open_lease(struct bench *b, struct adv_node *node,
				  const struct latency_plan *plan, const char *module,
				  const char *function)
{
	struct adv_lease_options o;
	struct adv_lease_info info = {.size = sizeof(info)};
	const struct latency_row *row = b->row;
	adv_lease_options_init(&o);
	o.workers = row->workers;
	o.slots = (row->inflight + row->workers - 1) / row->workers;
	if (row->payload > o.in_capacity)
		o.in_capacity = o.out_capacity = row->payload;
	o.hot_us = row->mode == LATENCY_WARM ? ADV_HOT_NEVER
		   : plan->baseline	     ? HOT_US
					     : ADV_HOT_ALWAYS;
	o.spin_us = 10 * 1000 * 1000;
	enum adv_status status = adv_lease_open(node, module, &o, &b->lease);
	if (status == ADV_OK)
		status = adv_function_find(b->lease, function, &b->function);
	if (status == ADV_OK)
		status = adv_lease_info(b->lease, &info);
	if (status != ADV_OK)
		return failed(b, status);
	b->row->shared_cores = info.shared_cores != 0;
	b->row->over_verbs = latency_over_verbs(b->lease);
	return ADV_OK;
}

static enum adv_status buffers(struct bench *b)
{
	b->in = calloc(1, b->row->payload > 4096 ? b->row->payload : 4096);
	b->out = calloc(1, (1u << 20) > b->row->payload ? 1u << 20 : b->row->payload);
	if (b->in != NULL && b->out != NULL)
		return ADV_OK;
	snprintf(b->reason, b->reason_size, "no memory for the payloads");
	return ADV_NO_MEMORY;
}

/* Hot and warm, one call at a time or many. */
static enum adv_status measure_calls(struct bench *b, struct adv_node *node,
				     const struct latency_plan *plan)
{
	bool warm = b->row->mode == LATENCY_WARM;
	enum adv_status status = open_lease(b, node, plan, plan->module, plan->function);
	if (status != ADV_OK)
		return status;
	uint64_t count = plan->count != 0     ? plan->count
			 : warm		      ? WARM_COUNT
			 : b->row->over_verbs ? VERBS_COUNT
					      : HOT_COUNT;
	pin_away(adv_lease_cpu(b->lease, 0));
	for (int i = 0; i < WARM_UP && status == ADV_OK; i++)
		status = call(b);
	if (status != ADV_OK)
		return status;
	b->block = &b->row->subject;
	bool many = b->row->inflight > 1;
	if (!plan->baseline || (many && !b->row->over_verbs))
		return many ? flood(b, UINT64_MAX, count)
			    : subject_block(b, warm, UINT64_MAX, count);
	status = latency_baseline_start(b->lease, b->row, &b->baseline, b->reason, b->reason_size);
	uint64_t each = count / NR_BLOCKS > 0 ? count / NR_BLOCKS : 1;
	for (unsigned i = 0;
	     b->row->subject.count < count && i < LATENCY_BLOCKS_MAX && status == ADV_OK; i++)
		status = pair(b, warm, each, i % 2 == 0);
	return status;
}

/* From asking for a lease to its first result; each sample has a lease of its own. */
static enum adv_status cold_sample(struct bench *b, struct adv_node *node, const char *module,
				   const char *function, uint32_t *hot)
{
	struct adv_lease_options o;
	struct adv_lease_info info = {.size = sizeof(info)};
	adv_lease_options_init(&o);
	o.slots = 1;
	if (b->row->payload > o.in_capacity)
		o.in_capacity = o.out_capacity = b->row->payload;
	uint64_t t0 = adv_ticks_now(&b->ticks);
	enum adv_status status = adv_lease_open(node, module, &o, &b->lease);
	if (status == ADV_OK)
		status = adv_function_find(b->lease, function, &b->function);
	if (status != ADV_OK)
		return failed(b, status);
	status = call(b);
	uint64_t ns = adv_ticks_ns(&b->ticks, adv_ticks_now(&b->ticks) - t0);
	adv_lease_info(b->lease, &info);
	*hot = info.nr_hot;
	adv_lease_close(b->lease);
	b->lease = NULL;
	if (status == ADV_OK)
		adv_histogram_add(b->block, ns);
	b->row->subject_ns += ns;
	return status;
}

static enum adv_status measure_cold(struct bench *b, struct adv_node *node,
				    const struct latency_plan *plan)
{
	static struct adv_histogram other;
	uint64_t count = plan->count != 0 ? plan->count : COLD_COUNT;
	bool want_hot = strcmp(b->row->pool, "hot") == 0;
	enum adv_status status = ADV_OK;
	for (uint64_t i = 0; i < 2 * count && b->row->subject.count < count && status == ADV_OK;
	     i++) {
		uint32_t hot = 0;
		adv_histogram_reset(&other);
		b->block = &other;
		rest(COLD_REST_NS);
		status = cold_sample(b, node, plan->module, plan->function, &hot);
		if (status == ADV_OK && (hot > 0) == want_hot)
			adv_histogram_merge(&b->row->subject, &other);
	}
	return status;
}

enum adv_status latency_measure(struct adv_node *node, const struct latency_plan *plan,
				struct latency_row *row, char *reason, size_t size)
{
	struct bench b = {.row = row, .reason = reason, .reason_size = size};
	cpu_set_t before;
	adv_histogram_reset(&row->subject);
	adv_histogram_reset(&row->baseline);
	adv_ticks_init(&b.ticks);
	sched_getaffinity(0, sizeof(before), &before);
	enum adv_status status = buffers(&b);
	if (status == ADV_OK)
		status = row->mode == LATENCY_COLD ? measure_cold(&b, node, plan)
						   : measure_calls(&b, node, plan);
	latency_baseline_stop(b.baseline);
	adv_lease_close(b.lease);
	free(b.in);
	free(b.out);
	sched_setaffinity(0, sizeof(before), &before);
	return status;
}
