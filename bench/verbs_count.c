/*
 * verbs_count.c - hot calls over verbs on the fake device of tests/fake, in one thread: what they take, for verbs_count.py to divide.
 *
 *	verbs_count [--calls N] [--size BYTES] [--hand-over] [--passes 1|2] [--seal]
 *
 * Prints one line of JSON. With --seal system calls are counted too, in a child process; without, it is fit for callgrind.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "verbs_hot.h"

#define WARM_UP \
	2000 /* calls that are not counted: queues have gone round, every line has been touched */

static struct hot hot;

static void print_end(const char *name, const struct fake_counts *c)
{
	printf(", \"%s\": {\"doorbells\": %" PRIu64 ", \"requests\": %" PRIu64
	       ", \"inlined\": %" PRIu64 ", \"signalled\": %" PRIu64 ", \"receives\": %" PRIu64
	       ", \"receive_doorbells\": %" PRIu64 ", \"completions\": %" PRIu64 "}",
	       name, c->doorbells, c->requests, c->inlined, c->signalled, c->receives,
	       c->receive_doorbells, c->completions);
}

static void print_counts(const struct hot_counts *c)
{
	printf("{\"calls\": %" PRIu64, c->calls);
	print_end("client", &c->client);
	print_end("node", &c->node);
	printf(", \"allocations\": %" PRIu64 ", \"locks\": %" PRIu64, c->sealed.allocations,
	       c->sealed.locks);
	if (c->seccomp)
		printf(", \"system_calls\": %" PRIu64 ", \"first_system_call\": %d",
		       c->sealed.system_calls, c->sealed.first_system_call);
	printf("}\n");
}

/* A process that can make no system calls any more has nothing left to do but end. */
static int count_sealed(uint64_t nr, struct hot_counts *counts)
{
	struct hot_counts *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0;
	if (shared == MAP_FAILED)
		return -1;
	pid_t child = fork();
	if (child == 0) {
		hot_count(&hot, nr, true, shared);
		_exit(shared->echoed ? 0 : 1);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		return -1;
	*counts = *shared;
	return 0;
}

static int usage(void)
{
	fprintf(stderr,
		"Usage: verbs_count [--calls N] [--size BYTES] [--hand-over] [--passes 1|2] "
		"[--seal]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"calls", required_argument, NULL, 'c'}, {"size", required_argument, NULL, 's'},
		{"hand-over", no_argument, NULL, 'h'},	 {"passes", required_argument, NULL, 'p'},
		{"seal", no_argument, NULL, 'l'},	 {0}};
	struct hot_options o = {.size = 8};
	struct hot_counts counts = {0};
	uint64_t nr = 10000;
	bool sealed = false;
	int option;
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'c')
			nr = strtoull(optarg, NULL, 10);
		else if (option == 's')
			o.size = (uint32_t)strtoul(optarg, NULL, 10);
		else if (option == 'h')
			o.hand_over = true;
		else if (option == 'p')
			o.one_pass = strtoul(optarg, NULL, 10) == 1;
		else if (option == 'l')
			sealed = true;
		else
			return usage();
	}
	if (optind < argc || o.size > HOT_SIZE_MAX)
		return usage();
	hot_make(&hot, &o);
	hot_calls(&hot, WARM_UP);
	if (!sealed)
		hot_count(&hot, nr, false, &counts);
	else if (count_sealed(nr, &counts) < 0)
		return 1;
	print_counts(&counts);
	hot_unmake(&hot);
	return 0;
}
