/* options.h - one table for a command's options: it drives the parsing and the help. Main thread. */
#ifndef ADVERB_CLI_OPTIONS_H
#define ADVERB_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cli_kind {
	CLI_FLAG,     /* bool */
	CLI_TEXT,     /* const char * */
	CLI_COUNT,    /* uint64_t, at least 1 */
	CLI_NUMBER,   /* uint64_t */
	CLI_SIZE,     /* uint64_t, bytes */
	CLI_DURATION, /* uint64_t, nanoseconds */
};

struct cli_option {
	const char *name;     /* without dashes; NULL ends the table */
	const char *argument; /* NULL for a flag */
	enum cli_kind kind;
	void *to; /* untouched when the option is not given */
	const char *help;
};

/* What every command has. */
struct cli_common {
	const char *host;
	bool json;
};

/* One subcommand. */
struct cli_command {
	const char *name;
	const char *arguments; /* "NAME FILE.so" */
	const char *summary;   /* one line for the overview */
	const char *details;   /* below the options; or NULL */
	int (*run)(int argc, char **argv, const struct cli_command *self);
	bool local; /* asks no node: takes no --host */
};

/*
 * Parses argv (whose first element is the command's name). Returns the number of plain arguments, which are moved to argv[0]
 * on; -1: help was printed to standard output; -2: an error was printed. `min` and `max` bound the plain arguments.
 */
int cli_parse(int argc, char **argv, const struct cli_command *command,
	      const struct cli_option *options, struct cli_common *common, int min, int max);

/* One line on standard error, "adverb: ...". Returns EXIT_FAILURE. */
int cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Sees standard output written. EXIT_SUCCESS, or EXIT_FAILURE: an error was printed. */
int cli_flush(void);

#endif
