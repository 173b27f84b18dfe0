/* constructor_oversized.c - a record of 64 KiB where one of fixed size belongs; against the node's check of sizes. */
#include "constructor.h"

static char large[65536];

CONSTRUCTOR
{
	struct adv_sandbox_report r = {.type = ADV_REPORT_CONFINED};
	memcpy(large, &r, sizeof(r));
	tell_node(large, sizeof(large), -1);
}

ATTACK
{
	return 0;
}
