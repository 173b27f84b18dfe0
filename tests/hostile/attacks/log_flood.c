/* log_flood.c - a hundred thousand lines, control characters and half lines into the log; against the log that an operator reads. */
#include "attack.h"

ATTACK
{
	static const char line[] = "flood \033[2J\r\007\b of a hostile module\n";
	static char half[4096];
	memset(half, 'h', sizeof(half));
	for (int i = 0; i < 100000; i++)
		if (write(2, line, sizeof(line) - 1) < 0 && errno != EAGAIN)
			return saw(out, 0, -errno);
	for (int i = 0; i < 64; i++)
		(void)!write(1, half, sizeof(half));
	return saw(out, 0, 0);
}
