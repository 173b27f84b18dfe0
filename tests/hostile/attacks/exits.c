/* exits.c - ends its process in every way there is; against a worker that ends and is not missed. */
#include <pthread.h>

#include "attack.h"

static void on_exit_of_process(void)
{
	_exit(7);
}

ATTACK
{
	switch (argument(in, in_size, 0)) {
	case 0:
		exit(3);
	case 1:
		_exit(4);
	case 2:
		quick_exit(5);
	case 3:
		syscall(SYS_exit, 6);
		break;
	case 4:
		atexit(on_exit_of_process);
		exit(0);
	case 5:
		syscall(SYS_exit_group, 0);
		break;
	default:
		pthread_exit(NULL);
	}
	return 0;
}
