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

/* With a body of JSON, or NULL; timeout_ms as adv_control() has it. */
static json_t *ask(struct adv_node *node, const char *method, const char *path, const char *body,
		   uint32_t timeout_ms)
{
	struct adv_control_reply reply = {0};
	json_error_t error;
	json_t *object = NULL;
	if (adv_control(node, method, path, body, body != NULL ? strlen(body) : 0, timeout_ms,
			&reply) != ADV_OK) {
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

json_t *cli_ask(struct adv_node *node, const char *method, const char *path)
{
	return ask(node, method, path, NULL, 0);
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

static int ask_and_print(const struct cli_common *common, const char *method, const char *path,
			 const char *body, uint32_t timeout_ms, void (*print)(const json_t *answer))
{
	struct adv_node *node;
	if (cli_connect(common, &node) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	json_t *answer = ask(node, method, path, body, timeout_ms);
	adv_disconnect(node);
	if (answer == NULL)
		return EXIT_FAILURE;
	if (common->json)
		return cli_print_json(answer);
	print(answer);
	json_decref(answer);
	return cli_flush();
}

int cli_ask_and_print(const struct cli_common *common, const char *method, const char *path,
		      void (*print)(const json_t *answer))
{
	return ask_and_print(common, method, path, NULL, 0, print);
}

int cli_post_and_print(const struct cli_common *common, const char *path, json_t *body,
		       uint32_t timeout_ms, void (*print)(const json_t *answer))
{
	char *text = json_dumps(body, JSON_COMPACT);
	json_decref(body);
	if (text == NULL)
		return cli_error("out of memory");
	int rc = ask_and_print(common, "POST", path, text, timeout_ms, print);
	free(text);
	return rc;
}
