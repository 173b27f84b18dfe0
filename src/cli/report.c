/* report.c - the rows of adverb latency, for people and as JSON. Main thread. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "cli/latency.h"
#include "util/parse.h"

static const char *const mode_names[] = {"hot", "warm", "cold"};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

double latency_ratio(const struct latency_row *row, const double *of, double fraction)
{
	double sorted[LATENCY_BLOCKS_MAX];
	if (row->nr_ratios == 0)
		return 0;
	memcpy(sorted, of, row->nr_ratios * sizeof(sorted[0]));
	qsort(sorted, row->nr_ratios, sizeof(sorted[0]), by_value);
	unsigned at = (unsigned)(fraction * row->nr_ratios);
	return sorted[at < row->nr_ratios ? at : row->nr_ratios - 1];
}

static double per_s(uint64_t count, uint64_t ns)
{
	return ns > 0 ? (double)count * 1e9 / (double)ns : 0;
}

static json_t *histogram_json(const struct adv_histogram *h)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "min",
			 (json_int_t)(h->count ? h->min : 0), "p10",
			 (json_int_t)adv_histogram_quantile(h, 0.1), "p50",
			 (json_int_t)adv_histogram_quantile(h, 0.5), "p90",
			 (json_int_t)adv_histogram_quantile(h, 0.9), "p99",
			 (json_int_t)adv_histogram_quantile(h, 0.99), "p999",
			 (json_int_t)adv_histogram_quantile(h, 0.999), "max", (json_int_t)h->max);
}

static json_t *range_json(const struct latency_row *row, const double *of)
{
	return json_pack("[f, f]", latency_ratio(row, of, 0.1), latency_ratio(row, of, 0.9));
}

/* The machine's speed changed too much under the measurement for a single figure to mean much. */
static bool noisy(const struct latency_row *row)
{
	return row->baseline_low > 0 && row->baseline_high > 1.5 * row->baseline_low;
}

json_t *latency_row_json(const struct latency_row *row)
{
	json_t *o =
		json_pack("{s:s, s:I, s:I, s:I, s:I, s:o, s:f, s:b, s:s}", "mode",
			  mode_names[row->mode], "payload", (json_int_t)row->payload, "inflight",
			  (json_int_t)row->inflight, "workers", (json_int_t)row->workers, "count",
			  (json_int_t)row->subject.count, "ns", histogram_json(&row->subject),
			  "calls_per_s", per_s(row->subject.count, row->subject_ns), "shared_cores",
			  (int)row->shared_cores, "fabric", row->over_verbs ? "verbs" : "shm");
	if (row->pool != NULL)
		json_object_set_new(o, "pool", json_string(row->pool));
	if (row->nr_ratios == 0)
		return o;
	json_int_t over = (json_int_t)adv_histogram_quantile(&row->subject, 0.5) -
			  (json_int_t)adv_histogram_quantile(&row->baseline, 0.5);
	json_object_set_new(o, "baseline_ns", histogram_json(&row->baseline));
	json_object_set_new(o, "ratio_p50", json_real(latency_ratio(row, row->ratios, 0.5)));
	json_object_set_new(o, "ratio_p50_range", range_json(row, row->ratios));
	json_object_set_new(o, "overhead_p50_ns", json_integer(over));
	json_object_set_new(o, "blocks", json_integer(row->nr_ratios));
	json_object_set_new(o, "noisy", json_boolean(noisy(row)));
	if (row->inflight > 1) {
		json_object_set_new(o, "baseline_per_s",
				    json_real(per_s(row->baseline.count, row->baseline_ns)));
		json_object_set_new(o, "ratio_per_s",
				    json_real(latency_ratio(row, row->rates, 0.5)));
		json_object_set_new(o, "ratio_per_s_range", range_json(row, row->rates));
	}
	return o;
}

/* ---- the machine ---- */

static json_t *cpu_model(void)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];
	json_t *model = NULL;
	while (f != NULL && model == NULL && fgets(line, sizeof(line), f) != NULL) {
		char *colon = strchr(line, ':');
		if (strncmp(line, "model name", 10) != 0 || colon == NULL)
			continue;
		colon[strcspn(colon, "\n")] = '\0';
		model = json_string(colon + 2);
	}
	if (f != NULL)
		fclose(f);
	return model != NULL ? model : json_string("unknown");
}

static json_t *first_line(const char *path)
{
	FILE *f = fopen(path, "re");
	char line[128] = "";
	if (f == NULL)
		return json_null();
	if (fgets(line, sizeof(line), f) == NULL)
		line[0] = '\0';
	fclose(f);
	line[strcspn(line, "\n")] = '\0';
	return json_string(line);
}

json_t *latency_machine_json(void)
{
	struct utsname name = {0};
	cpu_set_t set;
	uname(&name);
	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof(set), &set);
	return json_pack("{s:o, s:i, s:s, s:s, s:o}", "cpu", cpu_model(), "cpus", CPU_COUNT(&set),
			 "kernel", name.release, "architecture", name.machine, "governor",
			 first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"));
}

/* ---- for people ---- */

static const char *time_text(uint64_t ns, char out[16])
{
	if (ns < 10000)
		snprintf(out, 16, "%llu ns", (unsigned long long)ns);
	else if (ns < 10000000)
		snprintf(out, 16, "%.1f us", (double)ns / 1e3);
	else
		snprintf(out, 16, "%.1f ms", (double)ns / 1e6);
	return out;
}

void latency_print_head(bool baseline)
{
	printf("%-11s %8s %8s %9s %9s %9s %9s %9s %9s %11s", "mode", "payload", "inflight", "min",
	       "p50", "p90", "p99", "p99.9", "max", "calls/s");
	if (baseline)
		printf(" %9s %7s %15s %9s", "bare p50", "ratio", "10-90 %", "over");
	putchar('\n');
}

static void print_baseline(const struct latency_row *row)
{
	char base[16], over[16];
	uint64_t b = adv_histogram_quantile(&row->baseline, 0.5);
	uint64_t s = adv_histogram_quantile(&row->subject, 0.5);
	/* Over shared memory there is nothing bare that has several calls in flight, nor one that begins a lease. */
	if (row->nr_ratios == 0) {
		printf(" %9s %7s %15s %9s", "-", "-", "-", "-");
		return;
	}
	printf(" %9s %6.2fx %6.2fx - %5.2fx %s%8s%s", time_text(b, base),
	       latency_ratio(row, row->ratios, 0.5), latency_ratio(row, row->ratios, 0.1),
	       latency_ratio(row, row->ratios, 0.9), s < b ? "-" : " ",
	       time_text(s < b ? b - s : s - b, over), noisy(row) ? "  (noisy)" : "");
	if (row->inflight > 1)
		printf("  (%.2fx the calls/s)", latency_ratio(row, row->rates, 0.5));
}

void latency_print_row(const struct latency_row *row, bool baseline)
{
	char mode[32], size[32], t[6][16];
	const struct adv_histogram *h = &row->subject;
	snprintf(mode, sizeof(mode), "%s%s%s%s", mode_names[row->mode],
		 row->pool != NULL ? " (" : "", row->pool != NULL ? row->pool : "",
		 row->pool != NULL ? ")" : "");
	printf("%-11s %8s %8u %9s %9s %9s %9s %9s %9s %11.0f", mode,
	       adv_format_size(row->payload, size, sizeof(size)), row->inflight,
	       time_text(h->count ? h->min : 0, t[0]),
	       time_text(adv_histogram_quantile(h, 0.5), t[1]),
	       time_text(adv_histogram_quantile(h, 0.9), t[2]),
	       time_text(adv_histogram_quantile(h, 0.99), t[3]),
	       time_text(adv_histogram_quantile(h, 0.999), t[4]), time_text(h->max, t[5]),
	       per_s(row->subject.count, row->subject_ns));
	if (baseline)
		print_baseline(row);
	puts(row->shared_cores ? "  (shared core)" : "");
	fflush(stdout);
}
