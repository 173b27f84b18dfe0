/*
 * stress_worker.c - the worker under stress: runs calls, checks what it is given, dies anywhere.
 *
 * As a process it is killed by SIGKILL, at any instruction. As a thread (for ThreadSanitizer) it leaves by longjmp() at a
 * system call of the lane's code (a futex, a write, a sched_yield, all of them wrapped by the linker) or between two steps.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "stress.h"

struct stress_worker {
	struct stress *s;
	struct adv_worker_lane lane;
	struct adv_worker_lane_options options;
	uint8_t *outputs[STRESS_SLOTS];
	uint64_t random;
	pid_t pid;
	pthread_t thread;
	_Atomic bool die, dead;
	jmp_buf out;
};

static _Thread_local struct stress_worker *self; /* in a worker's thread */

/* ---- dying in the middle ---- */

static void maybe_die(uint32_t one_in)
{
	if (self == NULL)
		return;
	bool chance = stress_random(&self->random) % one_in == 0;
	if (atomic_load(&self->die) || (chance && !atomic_load(&self->s->quiet)))
		longjmp(self->out, 1);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
int __real_sched_yield(void);
int __wrap_sched_yield(void);

/* The lane makes no system call but futex, with six arguments. */
long __wrap_syscall(long number, ...)
{
	va_list args;
	va_start(args, number);
	void *word = va_arg(args, void *);
	int operation = va_arg(args, int);
	uint32_t value = va_arg(args, uint32_t);
	void *timeout = va_arg(args, void *);
	va_end(args);
	maybe_die(200);
	long rc = __real_syscall(number, word, operation, value, timeout, NULL, 0);
	maybe_die(200);
	return rc;
}

ssize_t __wrap_write(int fd, const void *data, size_t size)
{
	maybe_die(500);
	return __real_write(fd, data, size);
}

int __wrap_sched_yield(void)
{
	maybe_die(100000);
	return __real_sched_yield();
}

/* ---- running calls ---- */

static void check_input(struct stress *s, const struct adv_work *work)
{
	uint64_t id = work->call_id;
	if (id == 0 || id > s->count) {
		stress_error(s, "a call that was never made", id, work->slot, work->length);
		return;
	}
	if (atomic_fetch_add(&s->calls[id].ran, 1) != 0)
		stress_error(s, "run twice", id, work->slot, 0);
	uint32_t ended = atomic_load(&s->calls[id].ended);
	/* A caller that gave up may see its call run; nothing else may end before it. */
	if (ended != 0 && ended != ADV_TIMEOUT + 1)
		stress_error(s, "run after its end", id, ended - 1, 0);
	if (work->length != stress_length(2 * id, s->geometry.in_capacity) ||
	    !stress_same(work->in, work->length, 2 * id))
		stress_error(s, "another input", id, work->length, work->slot);
}

static void run(struct stress_worker *w, const struct adv_work *work)
{
	uint32_t length = stress_length(2 * work->call_id + 1, w->s->geometry.out_capacity);
	check_input(w->s, work);
	maybe_die(400);
	switch (work->function) {
	case FN_FAIL:
		adv_worker_complete(&w->lane, work, ADV_FUNCTION_FAILED, 0);
		break;
	case FN_TOO_LONG:
		adv_worker_complete(&w->lane, work, ADV_OK, w->s->geometry.out_capacity + 1);
		break;
	default:
		stress_fill(work->out, length, 2 * work->call_id + 1);
		maybe_die(400);
		adv_worker_complete(&w->lane, work, ADV_OK, length);
	}
	maybe_die(400);
}

static void serve(struct stress_worker *w)
{
	struct adv_work work;
	adv_worker_lane_init(&w->lane, &w->s->geometry, &w->options);
	for (;;) {
		adv_worker_next(&w->lane, &work);
		run(w, &work);
	}
}

/* ---- threads ---- */

static void *thread_main(void *worker)
{
	struct stress_worker *w = worker;
	self = w;
	if (setjmp(w->out) == 0)
		serve(w);
	self = NULL;
	atomic_store(&w->dead, true);
	return NULL;
}

static void nothing(int signal)
{
	(void)signal;
}

static bool start_thread(struct stress_worker *w)
{
	struct sigaction action = {.sa_handler = nothing};
	sigaction(SIGUSR1, &action, NULL); /* without SA_RESTART: a futex returns */
	return pthread_create(&w->thread, NULL, thread_main, w) == 0;
}

static void reap_thread(struct stress_worker *w)
{
	const struct timespec nap = {.tv_nsec = 100000};
	atomic_store(&w->die, true);
	for (int i = 0; i < 100000 && !atomic_load(&w->dead); i++) {
		pthread_kill(w->thread, SIGUSR1);
		nanosleep(&nap, NULL);
	}
	pthread_join(w->thread, NULL);
}

/* ---- processes ---- */

static bool start_process(struct stress_worker *w)
{
	pid_t parent = getpid();
	w->pid = fork();
	if (w->pid != 0)
		return w->pid > 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == parent)
		serve(w);
	_exit(1);
}

static void reap_process(struct stress_worker *w)
{
	int status;
	kill(w->pid, SIGKILL);
	while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		stress_error(w->s, "the worker died by itself", 0, (uint64_t)status, 0);
}

/* ---- both ---- */

struct stress_worker *stress_worker_start(struct stress *s, uint64_t generation, uint64_t hot_us,
					  uint64_t seed)
{
	struct stress_worker *w = calloc(1, sizeof(*w));
	if (w == NULL)
		abort();
	w->s = s;
	w->random = seed;
	for (uint32_t i = 0; i < s->geometry.nr_slots; i++)
		w->outputs[i] = s->slots + adv_geometry_out(&s->geometry, 0, i);
	w->options = (struct adv_worker_lane_options){
		.req = s->req + adv_geometry_req(&s->geometry, 0),
		.cpl = s->cpl + adv_geometry_cpl(&s->geometry, 0),
		.inputs = s->slots + adv_geometry_in(&s->geometry, 0, 0),
		.outputs = w->outputs,
		.generation = generation,
		.hot_us = hot_us,
		.nr_functions = NR_FUNCTIONS,
		.event_fd = s->event_fd,
		.yield = true,
		.ticks = {.mult = 1},
	};
	if (!(s->processes ? start_process(w) : start_thread(w)))
		abort();
	return w;
}

void stress_worker_reap(struct stress_worker *w)
{
	if (w->s->processes)
		reap_process(w);
	else
		reap_thread(w);
	free(w);
}
