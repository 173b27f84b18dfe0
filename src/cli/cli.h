/* cli.h - the subcommands, and what they share. Main thread. */
#ifndef ADVERB_CLI_CLI_H
#define ADVERB_CLI_CLI_H

#include <jansson.h>

#include "adverb/client.h"
#include "cli/options.h"

/* Each returns an exit status. */
int cli_deploy(int argc, char **argv, const struct cli_command *self);
int cli_list(int argc, char **argv, const struct cli_command *self);
int cli_describe(int argc, char **argv, const struct cli_command *self);
int cli_remove(int argc, char **argv, const struct cli_command *self);
int cli_invoke(int argc, char **argv, const struct cli_command *self);
int cli_status(int argc, char **argv, const struct cli_command *self);
int cli_leases(int argc, char **argv, const struct cli_command *self);
int cli_bill(int argc, char **argv, const struct cli_command *self);
int cli_release(int argc, char **argv, const struct cli_command *self);
int cli_drain(int argc, char **argv, const struct cli_command *self);
int cli_resume(int argc, char **argv, const struct cli_command *self);
int cli_devices(int argc, char **argv, const struct cli_command *self);
int cli_doctor(int argc, char **argv, const struct cli_command *self);
int cli_logs(int argc, char **argv, const struct cli_command *self);
int cli_latency(int argc, char **argv, const struct cli_command *self);

/* Connects, or says why not: EXIT_SUCCESS or EXIT_FAILURE. */
int cli_connect(const struct cli_common *common, struct adv_node **node);

/* A module's "NAME" or "OWNER/NAME" as a path of the API, or says what is wrong with it. EXIT_SUCCESS or EXIT_FAILURE. */
int cli_module_path(const struct cli_command *self, const char *text, char *path, size_t size);

/* Asks the node and parses its answer; NULL: an error was printed. The caller owns the object. */
json_t *cli_ask(struct adv_node *node, const char *method, const char *path);

/* Connects, asks one question and prints the answer: as JSON, or by `print`. An exit status. */
int cli_ask_and_print(const struct cli_common *common, const char *method, const char *path,
		      void (*print)(const json_t *answer));

/* The same, with an object, which it releases; waits for the answer so long. */
int cli_post_and_print(const struct cli_common *common, const char *path, json_t *body,
		       uint32_t timeout_ms, void (*print)(const json_t *answer));

/* Prints the object as JSON on standard output and releases it. EXIT_SUCCESS, or EXIT_FAILURE when it could not be written. */
int cli_print_json(json_t *object);

/* A member of an object, for people: never NULL. */
const char *cli_text(const json_t *object, const char *name);
long long cli_number(const json_t *object, const char *name);

#endif
