/*
 * doctor.h - what this machine gives a node and what not: one check for each thing, its verdict in words, and what to do about it.
 *
 *	files.c   reads what the kernel shows of itself, below a root that may be replaced: pure but for reading
 *	tries.c   tries the thing itself: starts a warden, builds a sandbox, makes a ring, asks the node. Leaves nothing behind
 *	checks.c  the table
 *
 * Main thread; each check ends within seconds.
 */
#ifndef ADVERB_DOCTOR_DOCTOR_H
#define ADVERB_DOCTOR_DOCTOR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandbox/facts.h"
#include "util/limits.h"

enum adv_verdict {
	ADV_CHECK_OK,
	ADV_CHECK_WEAK, /* a node runs; slower, or less well confined, than it could be */
	ADV_CHECK_BAD,	/* a node does not run, or does not do what its configuration asks */
};

struct adv_finding {
	enum adv_verdict verdict;
	char text[ADV_REASON_MAX];   /* what is so */
	char remedy[ADV_REASON_MAX]; /* what to do; "" where nothing is to be done */
};

/* What is looked at. */
struct adv_patient {
	const char *
		root; /* before each path: "" for this machine, or a directory with a copy of its files */
	const char *config_file; /* NULL: the usual place */
	const char *host;	 /* of the node to ask; NULL: the usual one */
	uid_t uid;		 /* that the node would be started as */
	/* Filled in by the first try of a warden. */
	bool tried, has_facts;
	struct adv_warden_facts facts;
	char why_not[ADV_REASON_MAX]; /* no facts: what the warden said */
	uint64_t build_us;	      /* that a sandbox took */
	/* Filled in by the first question to a node. */
	bool asked, node_tells;
	uint32_t node_lacks; /* bit i: adv_wall_at(i) does not stand there */
};

struct adv_check {
	const char *name;
	void (*look)(struct adv_patient *patient, struct adv_finding *finding);
	bool tries;	  /* the machine itself, not its files: left out where a root was named */
	const char *wall; /* with adv_try_wall() instead of look */
};

/* By number from 0; NULL at the end. In the order to be shown. */
const struct adv_check *adv_check_at(size_t index);

void adv_check_make(const struct adv_check *check, struct adv_patient *patient,
		    struct adv_finding *finding);

const char *adv_verdict_name(enum adv_verdict verdict); /* "ok", "weak", "bad" */

/* ---- for checks ---- */

/* Sets the verdict and both sentences; `remedy` may be NULL. */
void adv_find(struct adv_finding *finding, enum adv_verdict verdict, const char *remedy,
	      const char *format, ...) __attribute__((format(printf, 4, 5)));

/* A file's first bytes as a string without its last newline. False: there is none, or it cannot be read. */
bool adv_patient_read(const struct adv_patient *patient, const char *path, char *text, size_t size);

/* A file that is one number. */
bool adv_patient_number(const struct adv_patient *patient, const char *path, long long *number);

/* files.c */
void adv_look_kernel(struct adv_patient *patient, struct adv_finding *finding);
void adv_look_userns(struct adv_patient *patient, struct adv_finding *finding);
void adv_look_uid_map(struct adv_patient *patient, struct adv_finding *finding);
void adv_look_memfd(struct adv_patient *patient, struct adv_finding *finding);
void adv_look_io_uring(struct adv_patient *patient, struct adv_finding *finding);
void adv_look_files(struct adv_patient *patient, struct adv_finding *finding);
void adv_look_cores(struct adv_patient *patient, struct adv_finding *finding);
void adv_look_clock(struct adv_patient *patient, struct adv_finding *finding);
void adv_look_frequency(struct adv_patient *patient, struct adv_finding *finding);
void adv_look_huge_pages(struct adv_patient *patient, struct adv_finding *finding);
void adv_look_swap(struct adv_patient *patient, struct adv_finding *finding);
void adv_look_speculation(struct adv_patient *patient, struct adv_finding *finding);

/* tries.c */
void adv_try_configuration(struct adv_patient *patient, struct adv_finding *finding);
void adv_try_sandbox(struct adv_patient *patient, struct adv_finding *finding);
void adv_try_ring(struct adv_patient *patient, struct adv_finding *finding);
void adv_try_devices(struct adv_patient *patient, struct adv_finding *finding);
void adv_try_node(struct adv_patient *patient, struct adv_finding *finding);

/* A wall of sandboxes, by its name: as a node that runs says, or a warden that was tried. */
void adv_try_wall(struct adv_patient *patient, struct adv_finding *finding, const char *name);

#endif
