/*
 * latency.h - adverb latency among its files: what is asked (latency.c), how it is measured (measure.c), how it is shown (report.c).
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
	uint64_t subject_ns;		    /* spent in subject blocks */
	double ratios[LATENCY_BLOCKS_MAX];  /* of the blocks' p50 */
	double baseline_low, baseline_high; /* of the blocks' p50: how much the machine moved */
	unsigned nr_ratios;
	bool shared_cores;
};

/* Measure one row. ADV_OK, or a status with adv_error() or `reason` saying what failed. */
enum adv_status latency_measure(struct adv_node *node, const struct latency_plan *plan,
				struct latency_row *row, char *reason, size_t reason_size);

/* The module to measure: deploys the built-in echo under `name` with `hot` sandboxes unless it is there. */
enum adv_status latency_deploy_echo(struct adv_node *node, const char *name, int hot, char *reason,
				    size_t reason_size);

/* The median of the ratios, or their 10 % or 90 % point. 0 without any. */
double latency_ratio(const struct latency_row *row, double fraction);

json_t *latency_row_json(const struct latency_row *row);
json_t *latency_machine_json(void);
void latency_print_head(bool baseline);
void latency_print_row(const struct latency_row *row, bool baseline);

#endif
