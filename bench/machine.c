/*
 * machine.c - what this machine charges for what Adverb's absolute figures are made of: a system call, a page that is touched first, a
 * process that is forked and reaped. Medians of rounds, as one line of JSON: virtual machines differ in these by more than ten times.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/clock.h"

#define ROUNDS 15
#define CALLS  10000
#define PAGES  2048
#define FORKS  20

static double system_calls(void)
{
	uint64_t begun = adv_clock_monotonic_ns();
	for (int i = 0; i < CALLS; i++)
		(void)getppid();
	return (double)(adv_clock_monotonic_ns() - begun) / CALLS;
}

static double page_faults(void)
{
	size_t size = (size_t)PAGES * 4096;
	uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED) {
		perror("machine: mmap");
		exit(1);
	}
	(void)madvise(at, size, MADV_NOHUGEPAGE);
	uint64_t begun = adv_clock_monotonic_ns();
	for (size_t i = 0; i < size; i += 4096)
		at[i] = 1;
	double each = (double)(adv_clock_monotonic_ns() - begun) / PAGES;
	munmap(at, size);
	return each;
}

static double forks(void)
{
	uint64_t begun = adv_clock_monotonic_ns();
	for (int i = 0; i < FORKS; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid) {
			perror("machine: fork");
			exit(1);
		}
	}
	return (double)(adv_clock_monotonic_ns() - begun) / FORKS;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static double median(double (*measure)(void))
{
	double of[ROUNDS];
	for (int i = 0; i < ROUNDS; i++)
		of[i] = measure();
	qsort(of, ROUNDS, sizeof(of[0]), by_value);
	return of[ROUNDS / 2];
}

int main(void)
{
	printf("{\"system_call_ns\": %.0f, \"page_fault_ns\": %.0f, \"fork_ns\": %.0f}\n",
	       median(system_calls), median(page_faults), median(forks));
	return 0;
}
