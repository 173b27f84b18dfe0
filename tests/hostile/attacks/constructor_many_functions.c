/* constructor_many_functions.c - reports functions without end; against the node's memory. */
#include "constructor.h"

CONSTRUCTOR
{
	struct adv_sandbox_report r = {.type = ADV_REPORT_FUNCTION, .nr_functions = 1, .name = "f"};
	for (int i = 0; i < 100000; i++)
		tell_node(&r, sizeof(r), -1);
}

ATTACK
{
	return 0;
}
