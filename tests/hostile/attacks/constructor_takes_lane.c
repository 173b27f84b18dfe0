/*
 * constructor_takes_lane.c - keeps the lane's files mapped from the time when it was loaded with them in hand, and rewrites all of the node's own
 * lines in them; against a node or another lease that believes what is written there. Its own caller may be misled, as by any function of it.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "constructor.h"
#include "lane/lane.h"

static uint8_t *files[8];
static size_t sizes[8];
static long nr_files;

CONSTRUCTOR
{
	for (int fd = 4; fd < 64 && nr_files < 8; fd++) {
		struct stat st;
		struct adv_lane_header h;
		if (pread(fd, &h, sizeof(h), 0) != sizeof(h) || h.magic != ADV_LANE_MAGIC ||
		    fstat(fd, &st) < 0)
			continue;
		void *p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p == MAP_FAILED)
			continue;
		files[nr_files] = p;
		sizes[nr_files++] = (size_t)st.st_size;
	}
}

/* The first number says with what; a file that it has, header and all, is filled with it. */
ATTACK
{
	uint8_t byte = (uint8_t)argument(in, in_size, 0);
	long n = nr_files;
	if (byte == 0)
		return saw(out, 0, n);
	for (long i = 0; i < n; i++)
		memset(files[i], byte, sizes[i]);
	_exit(0);
}
