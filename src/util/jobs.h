/*
 * jobs.h - a thread for what blocks: the event loop hands it jobs, and hears when they are done. One after the other, in order.
 * For registering memory, making and ending queue pairs: system calls that take from 100 us to seconds.
 */
#ifndef ADVERB_UTIL_JOBS_H
#define ADVERB_UTIL_JOBS_H

#include "util/mailbox.h"

struct adv_jobs;

/* The owner's storage until `done` is called. */
struct adv_job {
	struct adv_mail mail;		   /* first */
	void (*run)(struct adv_job *job);  /* on the thread */
	void (*done)(struct adv_job *job); /* by adv_jobs_collect() */
	struct adv_job *next;
};

int adv_jobs_create(const char *name, struct adv_jobs **jobs); /* 0 or -errno */

/* Runs what is queued to its end, then ends the thread. `done` of what was not collected is called here. */
void adv_jobs_destroy(struct adv_jobs *jobs);

void adv_jobs_submit(struct adv_jobs *jobs, struct adv_job *job);

/* Readable when jobs are done. */
int adv_jobs_fd(const struct adv_jobs *jobs);
void adv_jobs_collect(struct adv_jobs *jobs);

#endif
