/* constructor_bad_text.c - a function's name with control characters, for the terminal of whoever lists it; against the node's check of texts. */
#include "constructor.h"

CONSTRUCTOR
{
	struct adv_sandbox_report r = {
		.type = ADV_REPORT_FUNCTION, .nr_functions = 1, .name = "\033[2Jx"};
	tell_node(&r, sizeof(r), -1);
}

ATTACK
{
	return 0;
}
