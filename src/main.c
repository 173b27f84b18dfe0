/* main.c - the table of subcommands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "node/serve.h"

static int serve(int argc, char **argv, const struct cli_command *self)
{
	(void)self;
	return adv_cmd_serve(argc, argv);
}

static const struct cli_command commands[] = {
	{"serve", "", "Run a node", NULL, serve},
	{"deploy", "NAME FILE.so", "Deploy a shared object as module NAME", NULL, cli_deploy},
	{"list", "", "List the modules that you may lease", NULL, cli_list},
	{"describe", "NAME", "Show one module and its functions", NULL, cli_describe},
	{"remove", "NAME", "Remove a module; leases of it go on", NULL, cli_remove},
	{"invoke", "MODULE/FUNCTION", "Call a function once",
	 "Without /FUNCTION the module's only function is called. The exit status is 0 only when "
	 "the call\n"
	 "succeeded; an error text of the function goes to standard error.",
	 cli_invoke},
	{"logs", "MODULE", "Show what a module's functions printed",
	 "Standard output and error, and what ADV_FUNCTION()s log: the last lines, as long as the "
	 "node "
	 "runs. Of a public\n"
	 "module you see the lines of your own leases. Dropped lines are counted where they were.",
	 cli_logs},
	{"status", "", "Show what the node has and does", NULL, cli_status},
	{"leases", "", "List your leases", NULL, cli_leases},
	{"bill", "", "Tell what was used, and what it costs",
	 "Leases that ended since then, or have not; each is counted whole. Prices are the "
	 "operator's: [prices].",
	 cli_bill},
	{"release", "ID", "End a lease",
	 "One of yours; root may end any. Its calls in flight are lost.", cli_release},
	{"drain", "", "Hand cores back: no new leases, and those there are are revoked",
	 "Returns when the cores are idle. For who operates the node: before a batch job, an "
	 "update, a shutdown.",
	 cli_drain},
	{"resume", "", "Grant leases again", NULL, cli_resume},
	{"devices", "", "List this machine's RDMA devices, and what would be used of them",
	 "For each device: its ports and their addresses, the one that `adverb serve --verbs "
	 "DEVICE` listens\n"
	 "on, and why not another. Asks no node.",
	 cli_devices, true},
	{"doctor", "", "Tell what this machine gives a node, what not, and what to do",
	 "Each check is ok, weak (a node runs, slower or less well confined than it could be) or "
	 "bad; the exit\n"
	 "status is 1 when any is bad. Builds one sandbox and ends it. Run it as whoever starts "
	 "the "
	 "node.",
	 cli_doctor},
	{"latency", "[MODULE/FUNCTION]",
	 "Measure what an invocation costs, next to the bare hardware",
	 "The default function is a built-in echo, which is deployed as \"adverb-echo\" and stays "
	 "deployed.\n"
	 "Modes: hot (the worker spins), warm (it sleeps), cold (lease to first result, from the "
	 "hot and\n"
	 "from the cold pool). The baseline is a bare cache-line ping-pong that copies the same "
	 "payload,\n"
	 "alternating with the subject in blocks of at most 20 ms on the same two CPUs.",
	 cli_latency},
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_overview(FILE *out)
{
	fputs("Usage: adverb COMMAND [OPTION]...\n\n"
	      "Runs functions immediately: lease workers from a node, call them at the cost of a "
	      "cache line.\n\n",
	      out);
	for (size_t i = 0; i < NR_COMMANDS; i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
	fputs("\n`adverb COMMAND --help` shows a command's options, `man adverb` everything.\n",
	      out);
}

/* How many letters must change. Short words: a plain table will do. */
static size_t distance(const char *a, const char *b)
{
	size_t row[32];
	size_t n = strlen(b);
	if (strlen(a) >= 31 || n >= 31)
		return 31;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);
			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n];
}

static int unknown(const char *name)
{
	size_t best = 0;
	for (size_t i = 1; i < NR_COMMANDS; i++)
		if (distance(name, commands[i].name) < distance(name, commands[best].name))
			best = i;
	if (distance(name, commands[best].name) <= 3)
		return cli_error("no command \"%.40s\": did you mean \"%s\"? See adverb --help",
				 name, commands[best].name);
	return cli_error("no command \"%.40s\": see adverb --help", name);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		print_overview(stderr);
		return EXIT_FAILURE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		print_overview(stdout);
		return EXIT_SUCCESS;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
		printf("adverb %s\n", ADVERB_VERSION);
		return EXIT_SUCCESS;
	}
	for (size_t i = 0; i < NR_COMMANDS; i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1, &commands[i]);
	return unknown(argv[1]);
}
