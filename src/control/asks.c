/* asks.c - requests to the warden, in order, without blocking. Control thread only. */
#include "control/asks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "util/clock.h"
#include "util/fd.h"
#include "util/passing.h"

#define AGAIN_NS (ADV_MS / 2)

struct adv_asks_waiting {
	struct adv_asks_waiting *next;
	struct adv_warden_request request;
	int fds[ADV_ORDER_FDS_MAX];
	unsigned nr_fds;
};

static int send_now(const struct adv_asks *asks, const struct adv_warden_request *request,
		    const int *fds, unsigned nr_fds)
{
	ssize_t n = adv_send_fds(asks->socket, request, sizeof(*request), fds, nr_fds,
				 MSG_NOSIGNAL | MSG_DONTWAIT);
	return n < 0 ? -errno : 0;
}

static void waiting_free(struct adv_asks_waiting *w)
{
	for (unsigned i = 0; i < w->nr_fds; i++)
		adv_fd_close(&w->fds[i]);
	free(w);
}

static void drop_first(struct adv_asks *asks)
{
	struct adv_asks_waiting *w = asks->first;
	asks->first = w->next;
	if (asks->first == NULL)
		asks->last = &asks->first;
	waiting_free(w);
}

static void again_fire(struct adv_timer *timer)
{
	struct adv_asks *asks = timer->user;
	while (asks->first != NULL) {
		const struct adv_asks_waiting *w = asks->first;
		if (send_now(asks, &w->request, w->fds, w->nr_fds) == -EAGAIN) {
			adv_timer_set(&asks->again, adv_clock_monotonic_ns() + AGAIN_NS);
			return;
		}
		drop_first(asks);
	}
}

static int wait_for_room(struct adv_asks *asks, const struct adv_warden_request *request,
			 const int *fds, unsigned nr_fds)
{
	struct adv_asks_waiting *w = calloc(1, sizeof(*w));
	if (w == NULL)
		return -ENOMEM;
	w->request = *request;
	for (; w->nr_fds < nr_fds; w->nr_fds++) {
		int fd = fcntl(fds[w->nr_fds], F_DUPFD_CLOEXEC, 0);
		if (fd < 0) {
			int rc = -errno;
			waiting_free(w);
			return rc;
		}
		w->fds[w->nr_fds] = fd;
	}
	*asks->last = w;
	asks->last = &w->next;
	adv_timer_set(&asks->again, adv_clock_monotonic_ns() + AGAIN_NS);
	return 0;
}

void adv_asks_init(struct adv_asks *asks, struct adv_loop *loop, int socket)
{
	*asks = (struct adv_asks){.socket = socket};
	asks->last = &asks->first;
	adv_timer_init(&asks->again, loop, again_fire, asks);
}

void adv_asks_end(struct adv_asks *asks)
{
	while (asks->first != NULL)
		drop_first(asks);
	adv_timer_set(&asks->again, UINT64_MAX);
}

int adv_asks_send(struct adv_asks *asks, const struct adv_warden_request *request, const int *fds,
		  unsigned nr_fds)
{
	if (asks->first == NULL) {
		int rc = send_now(asks, request, fds, nr_fds);
		if (rc != -EAGAIN && rc != -ENOBUFS)
			return rc;
	}
	return wait_for_room(asks, request, fds, nr_fds);
}
