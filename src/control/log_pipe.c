/* log_pipe.c - what a sandbox prints, line by line. Control thread only; nothing here blocks. */
#include "control/log_pipe.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/fd.h"

#define LINES_BURST 20 /* that are told at once */
#define LINE_NS	    (100 * ADV_MS)
#define READS \
	16 /* of a line's size at a time: a function that floods its log must not hold the control thread */

void adv_log_pipe_init(struct adv_log_pipe *p, void (*line)(void *user, const char *text),
		       void *user)
{
	memset(p, 0, sizeof(*p));
	p->fd = -1;
	p->line = line;
	p->user = user;
}

static void tell_dropped(struct adv_log_pipe *p)
{
	char text[64];
	if (p->dropped == 0)
		return;
	snprintf(text, sizeof(text), "(%u lines dropped: they came too fast)", p->dropped);
	p->dropped = 0;
	p->line(p->user, text);
}

static void tell(struct adv_log_pipe *p, const char *line, size_t length)
{
	uint64_t now = adv_clock_monotonic_ns();
	uint64_t floor = now > LINES_BURST * LINE_NS ? now - LINES_BURST * LINE_NS : 0;
	if (p->allowed_ns < floor)
		p->allowed_ns = floor;
	if (p->allowed_ns > now) {
		p->dropped++;
		return;
	}
	p->allowed_ns += LINE_NS;
	char clean[ADV_LOG_LINE_BYTES + 1];
	for (size_t i = 0; i < length; i++)
		clean[i] = line[i] >= ' ' && line[i] != 0x7f ? line[i]
							     : (line[i] & 0x80 ? line[i] : '?');
	clean[length] = '\0';
	tell_dropped(p);
	p->line(p->user, clean);
}

/* Takes whole lines out of the buffer; a line that fills it is cut. */
static void take_lines(struct adv_log_pipe *p, bool end)
{
	size_t start = 0;
	for (size_t i = 0; i < p->fill; i++) {
		if (p->bytes[i] != '\n')
			continue;
		tell(p, p->bytes + start, i - start);
		start = i + 1;
	}
	if (start == 0 && (p->fill == sizeof(p->bytes) || (end && p->fill > 0))) {
		tell(p, p->bytes, p->fill);
		start = p->fill;
	}
	memmove(p->bytes, p->bytes + start, p->fill - start);
	p->fill -= start;
}

static void ready(struct adv_watch *watch)
{
	struct adv_log_pipe *p = watch->user;
	for (int i = 0; i < READS; i++) {
		ssize_t n = read(p->fd, p->bytes + p->fill, sizeof(p->bytes) - p->fill);
		if (n <= 0) {
			if (n == 0)
				adv_watch_stop(watch);
			return;
		}
		p->fill += (size_t)n;
		take_lines(p, false);
	}
}

void adv_log_pipe_start(struct adv_log_pipe *p, struct adv_loop *loop, int fd)
{
	p->fd = fd;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	adv_watch_start(&p->watch, loop, fd, ready, p);
}

void adv_log_pipe_finish(struct adv_log_pipe *p)
{
	if (p->fd < 0)
		return;
	ready(&p->watch);
	take_lines(p, true);
	tell_dropped(p);
}

void adv_log_pipe_close(struct adv_log_pipe *p)
{
	if (p->fd >= 0)
		adv_watch_stop(&p->watch);
	adv_fd_close(&p->fd);
}
