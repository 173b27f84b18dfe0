/* common.c - what subcommands share: connecting, asking, printing. Main thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

int cli_connect(const struct cli_common *common, struct adv_node **node)
{
	if (adv_connect(common->host, node) == ADV_OK)
		return EXIT_SUCCESS;
	return cli_error("%s", adv_error());
}

json_t *cli_ask(struct adv_node *node, const char *method, const char *path)
{
	struct adv_control_reply reply = {0};
	json_error_t error;
	json_t *object = NULL;
	if (adv_control(node, method, path, NULL, 0, 0, &reply) != ADV_OK) {
		cli_error("%s", adv_error());
	} else {
		object = json_loadb(reply.body, reply.body_size, 0, &error);
		if (object == NULL)
			cli_error("the node's answer to %s %s is not JSON: %s", method, path,
				  error.text);
	}
	adv_control_reply_free(&reply);
	return object;
}

int cli_print_json(json_t *object)
{
	json_dumpf(object, stdout, JSON_PRESERVE_ORDER);
	json_decref(object);
	putchar('\n');
	return cli_flush();
}

const char *cli_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text != NULL ? text : "";
}

long long cli_number(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

int cli_ask_and_print(const struct cli_common *common, const char *method, const char *path,
		      void (*print)(const json_t *answer))
{
	struct adv_node *node;
	if (cli_connect(common, &node) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	json_t *answer = cli_ask(node, method, path);
	adv_disconnect(node);
	if (answer == NULL)
		return EXIT_FAILURE;
	if (common->json)
		return cli_print_json(answer);
	print(answer);
	json_decref(answer);
	return cli_flush();
}
