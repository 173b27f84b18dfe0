/*
 * harness.h - drives a real warden from outside: builds sandboxes, hands them modules and lanes, calls functions, prints TAP.
 * One thread. Every wait is bounded by WAIT_MS, which only a failing test reaches.
 */
#ifndef ADVERB_TESTS_SANDBOX_HARNESS_H
#define ADVERB_TESTS_SANDBOX_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "lane/caller.h"
#include "lane/supervisor.h"
#include "sandbox/launch.h"

#define WAIT_MS 10000

/* Shared with the process that repeats the tests as an ordinary user; main() makes it. */
struct tap {
	unsigned run, failed;
};
extern struct tap *tap;

/* One line of TAP. Returns the condition. */
bool check(bool condition, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Counts as skipped; a failure when ADVERB_MUST_HAVE names `need`. */
void skip(const char *need, const char *why, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

struct box {
	struct adv_warden *warden;
	uint32_t id;
	int pid;
	int report; /* -1 once closed */
	int log;
	uint64_t build_ns;
	uint64_t data_bytes;	     /* VmData when confined */
	struct adv_death death;	     /* code 0: alive */
	char reason[ADV_REASON_MAX]; /* FAILED's text, of the warden or the sandbox */
};

struct lane_memory {
	struct adv_geometry geometry;
	int fds[ADV_LANE_FILES];
	int req_read_only;
	int event_fd;
	uint8_t *map[ADV_LANE_FILES];
	struct adv_supervisor supervisor;
	struct adv_caller caller;
	struct adv_caller_call calls[ADV_SLOTS_MAX];
	uint64_t next_id;
};

/* ---- the warden and its sandboxes ---- */

struct adv_warden start_warden(const char *config_file); /* ends the test program on failure */

/* Builds and waits for CONFINED. False: `reason` says why not. */
bool box_build(struct adv_warden *warden, uint32_t id, uint32_t profile, struct box *b);
bool box_build_as(struct adv_warden *warden, const struct adv_warden_request *request,
		  struct box *b);
void box_order(struct box *b, const struct adv_warden_request *request, const int *fds,
	       unsigned nr_fds);
/* The next report; false when the socket has closed. `death` is not waited for. */
bool box_report(struct box *b, struct adv_sandbox_report *r);
bool box_wait_death(struct box *b);
void box_kill(struct box *b);	 /* and waits */
void box_release(struct box *b); /* kills when alive, closes */
/* One record from the warden, at most WAIT_MS; false: none or EOF. Descriptors are closed unless `fds` has room. */
bool warden_event(struct adv_warden *warden, struct adv_warden_event *event, int *fds);
void warden_send(struct adv_warden *warden, const void *record, size_t size, const int *fds,
		 unsigned nr_fds);
/* Entries of its /proc/PID/fd, "." and ".." too; root alone can count them. */
unsigned warden_descriptors(const struct adv_warden *warden);
/* What is in the log pipe now. */
int box_log(struct box *b, char *text, size_t size);

/* ---- modules ---- */

/* Reads hostile_NAME.so into a sealed memfd, once; -1 when there is none. */
int module_fd(const char *name);
void modules_open_all(const char *dir);

/* ---- lanes and calls ---- */

void lane_create(struct lane_memory *l, uint32_t nr_slots, uint64_t in_capacity,
		 uint64_t out_capacity);
void lane_destroy(struct lane_memory *l);
struct adv_warden_request serve_request(const struct lane_memory *l, uint32_t id, uint32_t type);
/* LOAD_AND_SERVE of the module with 64 MiB of memory; waits for LOADED. False: `reason`. */
bool box_serve(struct box *b, const char *module, struct lane_memory *l);

/* Publishes a call and waits for it or for the worker's death, whose status it then has. */
struct adv_result call(struct box *b, struct lane_memory *l, uint16_t function, const void *in,
		       uint32_t length);
/* The number of the function `name` in the module, by INSPECT in a sandbox of its own; -1: none. */
int function_number(struct adv_warden *warden, const char *module, const char *name);

/* A file of /proc/PID as a string. */
bool proc_read(int pid, const char *file, char *text, size_t size);
/* The value behind "KEY:" in a status file; "" when there is none. */
const char *proc_field(const char *text, const char *key);

#endif
