/*
 * latency.h - adverb latency among its files: what is asked (latency.c), how it is measured (measure.c), against what (baseline.c), how it is
 * shown (report.c).
 * Main thread, pinned to a CPU of its own while it measures.
 */
#ifndef ADVERB_CLI_LATENCY_H
#define ADVERB_CLI_LATENCY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "adverb/client.h"
#include "util/histogram.h"

#define LATENCY_PAYLOADS_MAX 16
#define LATENCY_BLOCKS_MAX   512

enum latency_mode {
	LATENCY_HOT,
	LATENCY_WARM,
	LATENCY_COLD,
};

struct latency_plan {
	const char *host;
	const char *module, *function; /* NULL: the built-in echo */
	bool modes[3];
	uint32_t payloads[LATENCY_PAYLOADS_MAX];
	unsigned nr_payloads;
	uint32_t inflight, workers;
	uint64_t count; /* samples of each row; 0: what suits the mode */
	bool baseline;
};

/* One row: what was measured, in nanoseconds. */
struct latency_row {
	enum latency_mode mode;
	uint32_t payload, inflight, workers;
	const char *pool; /* cold: "hot", "cold" or "built" */
	struct adv_histogram subject, baseline;
	uint64_t subject_ns, baseline_ns;   /* spent in blocks of each */
	double ratios[LATENCY_BLOCKS_MAX];  /* of the blocks' p50 */
	double rates[LATENCY_BLOCKS_MAX];   /* the same of what the blocks did in a second */
	double baseline_low, baseline_high; /* of the blocks' p50: how much the machine moved */
	unsigned nr_ratios;
	bool shared_cores, over_verbs;
};

/* Measure one row. ADV_OK, or a status with adv_error() or `reason` saying what failed. */
enum adv_status latency_measure(struct adv_node *node, const struct latency_plan *plan,
				struct latency_row *row, char *reason, size_t reason_size);

/* The module to measure: deploys the built-in echo under `name` with `hot` sandboxes unless it is there. */
enum adv_status latency_deploy_echo(struct adv_node *node, const char *name, int hot, char *reason,
				    size_t reason_size);

/* The median of the row's `ratios` or `rates`, or their 10 % or 90 % point. 0 without any. */
double latency_ratio(const struct latency_row *row, const double *of, double fraction);

/* ---- baseline.c ---- */

struct latency_baseline;

/* Else it is over shared memory, and its baseline is for one call at a time only. */
bool latency_over_verbs(const struct adv_lease *lease);

/* Beside the lease, which outlives it. ADV_OK, or a status with `reason`. */
enum adv_status latency_baseline_start(struct adv_lease *lease, const struct latency_row *row,
				       struct latency_baseline **baseline, char *reason,
				       size_t reason_size);
void latency_baseline_stop(struct latency_baseline *baseline);

struct latency_baseline_block {
	bool warm; /* the peer sleeps between pings; gap_ns passes before each, so that it does */
	uint32_t payload, inflight;
	uint64_t duration_ns, count, gap_ns; /* until either of the first two is reached */
	void (*sample)(void *user, uint64_t ns);
	void *user;
};
enum adv_status latency_baseline_run(struct latency_baseline *baseline,
				     const struct latency_baseline_block *block, uint64_t *spent_ns,
				     char *reason, size_t reason_size);

/* ---- report.c ---- */

json_t *latency_row_json(const struct latency_row *row);
json_t *latency_machine_json(void);
void latency_print_head(bool baseline);
void latency_print_row(const struct latency_row *row, bool baseline);

#endif
