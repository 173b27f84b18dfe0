/*
 * attach.c - the descriptors of a lease: nothing of them is used before it is known to be what the node said it is.
 * The thread that opens the lease.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "client/internal.h"
#include "util/fd.h"

/* A memfd that could shrink would turn a load into SIGBUS. */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static const char *const names[ADV_LANE_FILES] = {"req", "cpl", "slots"};

static enum adv_status check_file(int fd, enum adv_lane_file file, uint64_t size)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return adv_client_fail(ADV_SYSTEM, "lane memory %s: %s", names[file],
				       strerror(errno));
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
		return adv_client_fail(
			ADV_PROTOCOL, "the node's lane memory %s has %lld bytes instead of %llu",
			names[file], (long long)st.st_size, (unsigned long long)size);
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & SEALS) != SEALS)
		return adv_client_fail(ADV_PROTOCOL, "the node's lane memory %s is not sealed",
				       names[file]);
	return ADV_OK;
}

static enum adv_status check_header(const void *page, const struct adv_geometry *g,
				    enum adv_lane_file file)
{
	int rc = adv_lane_header_check(page, g, file);
	if (rc == -EPROTONOSUPPORT)
		return adv_client_fail(ADV_VERSION,
				       "the node's lanes are of another version than %d: use the "
				       "library that belongs to the node",
				       ADV_PROTOCOL_VERSION);
	if (rc < 0)
		return adv_client_fail(ADV_PROTOCOL,
				       "the node's lane memory %s is not what it should be",
				       names[file]);
	return ADV_OK;
}

static enum adv_status map_file(struct adv_lease *l, int fd, enum adv_lane_file file)
{
	uint64_t size = l->geometry.size[file];
	enum adv_status status = check_file(fd, file, size);
	if (status != ADV_OK)
		return status;
	int protection = file == ADV_LANE_CPL ? PROT_READ : PROT_READ | PROT_WRITE;
	/* The rings' pages are used at once. The slots' are not, and are many: the keeper sees to them. */
	int flags = MAP_SHARED | (file != ADV_LANE_SLOTS ? MAP_POPULATE : 0);
	/* Where another lease takes the place of one that was lost, so do its lanes: the user may hold slots. */
	void *before = l->maps[file];
	void *map = mmap(before, size, protection, flags | (before != NULL ? MAP_FIXED : 0), fd, 0);
	if (map == MAP_FAILED)
		return adv_client_fail(errno == ENOMEM ? ADV_NO_MEMORY : ADV_PROTOCOL,
				       "mapping %llu bytes of lane memory %s: %s",
				       (unsigned long long)size, names[file], strerror(errno));
	l->maps[file] = map;
	return check_header(map, &l->geometry, file);
}

enum adv_status adv_lease_map(struct adv_lease *l, struct adv_client_answer *a)
{
	if (a->code != 101 || a->nr_fds != ADV_ATTACH_FDS || a->rest_size == 0 || a->rest[0] != 1)
		return adv_client_fail(ADV_PROTOCOL,
				       "the node does not hand over the lease's four descriptors");
	for (int i = 0; i < ADV_LANE_FILES; i++) {
		enum adv_status status = map_file(l, a->fds[i], (enum adv_lane_file)i);
		if (status != ADV_OK)
			return status;
	}
	/* One that blocks would hold a caller that only wants to empty it. */
	int flags = fcntl(a->fds[ADV_LANE_FILES], F_GETFL);
	if (flags < 0 || !(flags & O_NONBLOCK) || (flags & O_ACCMODE) != O_RDWR)
		return adv_client_fail(ADV_PROTOCOL,
				       "the node's fourth descriptor is not a lease's eventfd");
	adv_fd_close(&l->event_fd);
	l->event_fd = adv_fd_steal(&a->fds[ADV_LANE_FILES]);
	if (l->resume != NULL)
		return adv_resume_listen(l, l->event_fd);
	l->wait_fd = l->event_fd;
	return ADV_OK;
}

void adv_lease_unmap(struct adv_lease *l)
{
	for (int i = 0; i < ADV_LANE_FILES; i++)
		if (l->maps[i] != NULL)
			munmap(l->maps[i], l->geometry.size[i]);
	adv_fd_close(&l->event_fd);
}
