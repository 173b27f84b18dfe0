/*
 * core_lines.h - the pages of the cores that leases may share (lane/core_line.h): made when a core gets its first worker, kept until the node ends.
 * The control thread's. What workers write there is not trusted: a holder that runs nothing loses its core.
 */
#ifndef ADVERB_CONTROL_CORE_LINES_H
#define ADVERB_CONTROL_CORE_LINES_H

#include <stdbool.h>
#include <stdint.h>

#include "lane/core_line.h"

struct adv_core_lines;

int adv_core_lines_create(struct adv_core_lines **lines);
void adv_core_lines_destroy(struct adv_core_lines *lines);

/* A worker comes to sit on `cpu`. The page's descriptor, which stays the owner's; -errno. */
int adv_core_lines_sit(struct adv_core_lines *lines, int cpu);

/* It has died, or never came: if it held the core, it holds it no more. */
void adv_core_lines_rise(struct adv_core_lines *lines, int cpu, uint64_t worker);

/*
 * The watchdog's look at all cores: first each worker that runs a call is named, then whoever is said to hold a core, and was not named this time and the last
 * time, is taken off it.
 */
void adv_core_lines_runs(struct adv_core_lines *lines, int cpu, uint64_t worker);
void adv_core_lines_sweep(struct adv_core_lines *lines);

#endif
