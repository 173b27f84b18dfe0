/* client.c - a complete client: leases a worker of the module "hello" and calls it once. */
#include <adverb/client.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
	struct adv_node *node;
	struct adv_lease *lease;
	uint32_t hello, size = 0;
	char out[64];

	if (adv_connect(NULL, &node) != ADV_OK ||
	    adv_lease_open(node, "hello", NULL, &lease) != ADV_OK ||
	    adv_function_find(lease, "hello", &hello) != ADV_OK) {
		fprintf(stderr, "%s\n", adv_error());
		return 1;
	}
	enum adv_status status =
		adv_invoke(lease, hello, "world", 5, out, sizeof(out), &size, 1000000);
	printf("%s: %.*s\n", adv_status_text(status), (int)size, out);
	adv_lease_close(lease);
	adv_disconnect(node);
	return status == ADV_OK ? 0 : 1;
}
