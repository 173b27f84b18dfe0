/*
 * prepare.c - the warden's own namespaces and the roots that sandboxes get copies of. The warden's only thread, once.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/landlock.h"
#include "sandbox/speculation.h"
#include "sandbox/warden.h"
#include "util/fd.h"

#define HINT_USERNS                                                                                \
	"unprivileged user namespaces must be allowed: sysctl kernel.unprivileged_userns_clone=1 " \
	"(where it exists), user.max_user_namespaces above 0, "                                    \
	"kernel.apparmor_restrict_unprivileged_userns=0 (where it exists)"
#define HINT_ROOT \
	"root needs CAP_SYS_ADMIN; in a container grant it, or start Adverb as an ordinary user"
#define HINT_UIDS                                                                                  \
	"the user namespace that Adverb was started in must have these uids: start it outside of " \
	"the container, or as an ordinary user"

/* ---- identity ---- */

static int write_file(const char *path, const char *text)
{
	ADV_CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* An ordinary user becomes the owner of a user namespace in which there is only that user. */
static int own_user_namespace(const struct adv_plan *plan, struct adv_failure *failure)
{
	char map[32];
	if (unshare(CLONE_NEWUSER) < 0)
		return adv_failure_set(failure, errno, HINT_USERNS,
				       "could not make a user namespace");
	int rc = write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "%u %u 1", plan->uid, plan->uid);
	if (rc == 0)
		rc = write_file("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "%u %u 1", plan->gid, plan->gid);
	if (rc == 0)
		rc = write_file("/proc/self/gid_map", map);
	if (rc < 0)
		return adv_failure_set(failure, -rc, HINT_USERNS,
				       "could not map its uid into a user namespace");
	return 0;
}

/* Does one line of the map cover all uids that sandboxes will have? */
static int check_range(const char *path, struct adv_failure *failure)
{
	const unsigned long first = ADV_UID_BASE, last = ADV_UID_BASE + ADV_SANDBOXES_MAX;
	unsigned long inside, outside, count;
	FILE *f = fopen(path, "re");
	bool covered = false;
	while (f != NULL && !covered && fscanf(f, "%lu %lu %lu", &inside, &outside, &count) == 3)
		covered = first >= inside && last - inside < count;
	if (f != NULL)
		fclose(f);
	if (!covered)
		return adv_failure_set(failure, ENOENT, HINT_UIDS,
				       "%s does not have the ids %lu to %lu of the sandboxes", path,
				       first, last);
	return 0;
}

static int take_identity(struct adv_plan *plan, struct adv_failure *failure)
{
	plan->uid = geteuid();
	plan->gid = getegid();
	plan->root = plan->uid == 0;
	if (!plan->root)
		return own_user_namespace(plan, failure);
	int rc = check_range("/proc/self/uid_map", failure);
	return rc < 0 ? rc : check_range("/proc/self/gid_map", failure);
}

/* ---- file system ---- */

/* A small tmpfs that is mounted nowhere yet; its descriptor or -errno. */
static int make_tmpfs(const char *size, const char *inodes, bool read_only)
{
	ADV_CLEANUP_FD int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0)
		return -errno;
	if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "mode", "0555", 0) < 0 ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "nr_inodes", inodes, 0) < 0 ||
	    (read_only && syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0) ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	unsigned flags = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	if (read_only)
		flags |= MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY;
	int mount = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, flags);
	return mount < 0 ? -errno : mount;
}

static int attach(int mount, int dir, const char *name)
{
	if (name[0] != '\0' && mkdirat(dir, name, 0555) < 0)
		return -errno;
	if (syscall(SYS_move_mount, mount, "", dir, name[0] != '\0' ? name : "/",
		    MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return -errno;
	return 0;
}

/* The default library set needs no file at all: the warden has it loaded. */
static int make_default_root(int top)
{
	ADV_CLEANUP_FD int root = make_tmpfs("4k", "2", true);
	return root < 0 ? root : attach(root, top, &ADV_ROOT_DEFAULT[1]);
}

static int fill_extended_root(struct adv_libraries *libraries, int root,
			      struct adv_failure *failure)
{
	if (mkdirat(root, "lib", 0555) < 0 || symlinkat("lib", root, "lib64") < 0)
		return adv_failure_set(failure, errno, NULL,
				       "could not make the directories of the extended root");
	ADV_CLEANUP_FD int dir = openat(root, "lib", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return adv_failure_set(failure, errno, NULL, "could not open the extended root");
	return adv_libraries_copy(libraries, dir, failure);
}

/* The places where further files will be seen: directories, or empty files, and what leads there. */
static int make_places(const struct adv_settings *settings, int root, struct adv_failure *failure)
{
	for (unsigned i = 0; i < settings->nr_paths; i++) {
		char path[ADV_PATH_MAX + 1], full[ADV_PATH_MAX + 1];
		struct stat st;
		snprintf(path, sizeof(path), "%s", settings->paths[i]);
		snprintf(full, sizeof(full), "/%s", settings->paths[i]);
		if (stat(full, &st) < 0 || (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)))
			return adv_failure_set(failure, ENOENT,
					       "[sandbox] paths= takes files and directories",
					       "there is no %s", full);
		int rc = 0;
		for (char *slash = path; rc == 0 && (slash = strchr(slash, '/')) != NULL; slash++) {
			*slash = '\0';
			rc = mkdirat(root, path, 0555) < 0 && errno != EEXIST ? -errno : 0;
			*slash = '/';
		}
		if (rc == 0 && S_ISDIR(st.st_mode))
			rc = mkdirat(root, path, 0555) < 0 && errno != EEXIST ? -errno : 0;
		else if (rc == 0)
			rc = mknodat(root, path, S_IFREG | 0444, 0) < 0 ? -errno : 0;
		if (rc < 0)
			return adv_failure_set(failure, -rc, NULL, "could not make a place for %s",
					       full);
	}
	return 0;
}

/* What is mounted below a path is not seen: the operator lists it by itself. */
static int show_paths(const struct adv_settings *settings, int root, struct adv_failure *failure)
{
	struct mount_attr walls = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
					       MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
	for (unsigned i = 0; i < settings->nr_paths; i++) {
		char full[ADV_PATH_MAX + 1];
		snprintf(full, sizeof(full), "/%s", settings->paths[i]);
		ADV_CLEANUP_FD int tree = (int)syscall(SYS_open_tree, AT_FDCWD, full,
						       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		if (tree < 0 ||
		    syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &walls, sizeof(walls)) <
			    0 ||
		    syscall(SYS_move_mount, tree, "", root, settings->paths[i],
			    MOVE_MOUNT_F_EMPTY_PATH) < 0)
			return adv_failure_set(failure, errno, "take it out of [sandbox] paths=",
					       "could not show %s to sandboxes", full);
	}
	return 0;
}

static int make_extended_root(struct adv_settings *settings, int top, struct adv_failure *failure)
{
	struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
	ADV_CLEANUP_FD int root = make_tmpfs("512m", "1024", false);
	if (root < 0)
		return adv_failure_set(failure, -root, NULL, "could not mount the extended root");
	int rc = fill_extended_root(&settings->libraries, root, failure);
	if (rc == 0)
		rc = make_places(settings, root, failure);
	if (rc < 0)
		return rc;
	if (syscall(SYS_mount_setattr, root, "", AT_EMPTY_PATH, &read_only, sizeof(read_only)) < 0)
		return adv_failure_set(failure, errno, "Linux 5.12 or later is needed",
				       "could not make the extended root read-only");
	rc = attach(root, top, &ADV_ROOT_EXTENDED[1]);
	if (rc < 0)
		return adv_failure_set(failure, -rc, NULL, "could not attach the extended root");
	return show_paths(settings, root, failure);
}

/* Sandboxes may mount a procfs only where one is visible already; and the warden writes id maps by it. */
static int bring_proc(int top)
{
	ADV_CLEANUP_FD int proc = (int)syscall(SYS_open_tree, AT_FDCWD, "/proc",
					       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	return proc < 0 ? -errno : attach(proc, top, "proc");
}

/* The warden sees the prepared roots and /proc, and no more: nor does anything that is cloned from it. */
static int enter(int top, struct adv_failure *failure)
{
	if (fchdir(top) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return adv_failure_set(failure, errno, NULL,
				       "could not enter the warden's own root");
	ADV_CLEANUP_FD int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0 || dup3(proc, ADV_FD_PROC, O_CLOEXEC) < 0)
		return adv_failure_set(failure, errno, NULL, "could not open /proc");
	return 0;
}

static int make_roots(struct adv_plan *plan, struct adv_settings *settings,
		      struct adv_failure *failure)
{
	ADV_CLEANUP_FD int top = make_tmpfs("64k", "16", false);
	if (top < 0)
		return adv_failure_set(failure, -top, "Linux 5.12 or later is needed",
				       "could not mount a tmpfs");
	/* First of all it goes into the warden's namespace: before Linux 6.15 nothing can be mounted on what is mounted nowhere. */
	if (syscall(SYS_move_mount, top, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return adv_failure_set(failure, errno, NULL, "could not mount the warden's root");
	int rc = make_default_root(top);
	if (rc == 0)
		rc = bring_proc(top);
	if (rc < 0)
		return adv_failure_set(failure, -rc, NULL, "could not prepare the sandboxes' root");
	plan->extended = settings->libraries.nr > 0 || settings->nr_paths > 0;
	if (plan->extended && (rc = make_extended_root(settings, top, failure)) < 0)
		return rc;
	return enter(top, failure);
}

int adv_prepare(struct adv_plan *plan, struct adv_cgroups *cgroups, const char *config_file,
		struct adv_failure *failure)
{
	struct adv_settings settings;
	int rc = adv_settings_read(&settings, config_file, geteuid() == 0, failure);
	if (rc < 0)
		return rc;
	plan->strict_net = settings.strict_net;
	plan->speculation = adv_speculation_controls();
	rc = adv_core_cookies_init(settings.core_scheduling, geteuid() == 0, &plan->core_scheduling,
				   failure);
	if (rc < 0)
		return rc;
	adv_cgroups_init(cgroups);
	plan->cgroup = cgroups->base >= 0;
	rc = take_identity(plan, failure);
	if (rc < 0)
		return rc;
	/* The network namespace stays empty, its loopback down; all sandboxes share it, unless each is to have its own. */
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0)
		return adv_failure_set(failure, errno, plan->root ? HINT_ROOT : HINT_USERNS,
				       "could not make a mount and a network namespace");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return adv_failure_set(failure, errno, plan->root ? HINT_ROOT : HINT_USERNS,
				       "could not make its mounts private");
	rc = make_roots(plan, &settings, failure);
	if (rc < 0)
		return rc;
	plan->landlock_abi = adv_landlock_abi();
	adv_ticks_init(&plan->ticks);
	return 0;
}
