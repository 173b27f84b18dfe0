/*
 * settings.c - what the operator allows in sandboxes beyond the default: section [sandbox] of the configuration.
 * The warden's only thread, at start. The node, which tenants speak to, has no say in it.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/warden.h"
#include "util/fd.h"

#define CONFIG_BYTES_MAX (64 * 1024)
#define LINE_MAX_BYTES	 4096

/* ---- the file ---- */

static int open_config(const char *path, bool root, struct adv_failure *failure)
{
	struct stat st;
	ADV_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return adv_failure_set(failure, errno, NULL, "could not open the configuration %s",
				       path);
	if (!S_ISREG(st.st_mode) || st.st_size > CONFIG_BYTES_MAX)
		return adv_failure_set(failure, EINVAL, "it must be a file of at most 64 KiB",
				       "the configuration %s", path);
	if (st.st_uid != 0 && (root || st.st_uid != getuid()))
		return adv_failure_set(failure, EPERM,
				       "it says what tenants may load: make root its owner",
				       "the configuration %s belongs to uid %u", path, st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return adv_failure_set(failure, EPERM,
				       "it says what tenants may load: chmod go-w it",
				       "the configuration %s can be written by others", path);
	return adv_fd_steal(&fd);
}

/* ---- values ---- */

/* An absolute path, none of whose parts is a dot, two dots or nothing: it is made again below the sandbox's root. */
static int add_path(struct adv_settings *s, const char *path, struct adv_failure *failure)
{
	size_t n = strlen(path);
	if (path[0] != '/' || n < 2 || path[n - 1] == '/' || strstr(path, "//") != NULL ||
	    strstr(path, "/./") != NULL || strstr(path, "/../") != NULL ||
	    strcmp(path + n - 2, "/.") == 0 || (n > 2 && strcmp(path + n - 3, "/..") == 0))
		return adv_failure_set(failure, EINVAL,
				       "give absolute paths such as /usr/share/zoneinfo",
				       "[sandbox] paths= names \"%.80s\"", path);
	if (strcmp(path, "/lib") == 0 || strncmp(path, "/lib/", 5) == 0 ||
	    strncmp(path, "/lib64", 6) == 0 || strncmp(path, "/proc", 5) == 0 ||
	    strncmp(path, "/sys", 4) == 0 || strncmp(path, "/dev", 4) == 0)
		return adv_failure_set(failure, EINVAL,
				       "sandboxes have no devices and see nothing of the kernel; "
				       "libraries are listed under libraries=",
				       "[sandbox] paths= names %.80s", path);
	if (s->nr_paths == ADV_PATHS_MAX || n >= ADV_PATH_MAX)
		return adv_failure_set(failure, E2BIG, NULL,
				       "[sandbox] paths= takes at most %d paths of %d bytes",
				       ADV_PATHS_MAX, ADV_PATH_MAX - 1);
	snprintf(s->paths[s->nr_paths++], ADV_PATH_MAX, "%s", path + 1);
	return 0;
}

static int add_library(struct adv_settings *s, const char *name, struct adv_failure *failure)
{
	return adv_libraries_add(&s->libraries, name, failure);
}

static int set_strict_net(struct adv_settings *s, const char *value, struct adv_failure *failure)
{
	s->strict_net = strcmp(value, "yes") == 0;
	if (s->strict_net || strcmp(value, "no") == 0)
		return 0;
	return adv_failure_set(failure, EINVAL, "say yes or no",
			       "[sandbox] strict_net= is \"%.32s\"", value);
}

static int set_core_scheduling(struct adv_settings *s, const char *value,
			       struct adv_failure *failure)
{
	static const char *const words[] = {
		[ADV_WISH_AUTO] = "auto", [ADV_WISH_YES] = "yes", [ADV_WISH_NO] = "no"};
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(value, words[i]) == 0) {
			s->core_scheduling = (enum adv_wish)i;
			return 0;
		}
	return adv_failure_set(failure, EINVAL, "say auto, yes or no",
			       "[sandbox] core_scheduling= is \"%.32s\"", value);
}

/* Each key of the section, and what takes one of its words. */
static const struct {
	const char *name;
	int (*take)(struct adv_settings *s, const char *value, struct adv_failure *failure);
} keys[] = {
	{"libraries", add_library},
	{"paths", add_path},
	{"strict_net", set_strict_net},
	{"core_scheduling", set_core_scheduling},
};

/* ---- lines ---- */

static char *trim(char *text)
{
	while (isspace((unsigned char)*text))
		text++;
	size_t n = strlen(text);
	while (n > 0 && isspace((unsigned char)text[n - 1]))
		text[--n] = '\0';
	return text;
}

static int take_value(struct adv_settings *s, const char *name, char *rest,
		      struct adv_failure *failure)
{
	char *word;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (strcmp(name, keys[i].name) != 0)
			continue;
		while ((word = strsep(&rest, " \t,")) != NULL) {
			int rc = *word == '\0' ? 0 : keys[i].take(s, word, failure);
			if (rc < 0)
				return rc;
		}
		return 0;
	}
	return adv_failure_set(failure, EINVAL,
			       "it has libraries, paths, strict_net and core_scheduling",
			       "[sandbox] has no key \"%.40s\"", name);
}

/* One line; `inside` says whether it is in [sandbox]. Comments are whole lines, or begin with " ;" or " #". */
static int take_line(struct adv_settings *s, char *line, bool *inside, struct adv_failure *failure)
{
	for (char *p = line; *p != '\0'; p++)
		if ((*p == ';' || *p == '#') && (p == line || isspace((unsigned char)p[-1])))
			*p = '\0';
	char *text = trim(line);
	if (text[0] == '[') {
		*inside = strcmp(text, "[sandbox]") == 0;
		return 0;
	}
	char *equals = strchr(text, '=');
	if (!*inside || equals == NULL)
		return 0;
	*equals = '\0';
	return take_value(s, trim(text), trim(equals + 1), failure);
}

int adv_settings_read(struct adv_settings *s, const char *config_file, bool root,
		      struct adv_failure *failure)
{
	s->libraries.nr = s->nr_paths = 0;
	s->strict_net = false;
	s->core_scheduling = ADV_WISH_AUTO;
	if (config_file == NULL)
		return 0;
	ADV_CLEANUP_FD int fd = open_config(config_file, root, failure);
	if (fd < 0)
		return fd;
	FILE *file = fdopen(fd, "re");
	if (file == NULL)
		return adv_failure_set(failure, errno, NULL, "could not read %s", config_file);
	adv_fd_steal(&fd);
	char line[LINE_MAX_BYTES];
	bool inside = false;
	int rc = 0;
	while (rc == 0 && fgets(line, sizeof(line), file) != NULL) {
		if (strchr(line, '\n') == NULL && !feof(file))
			rc = adv_failure_set(failure, EINVAL, NULL,
					     "a line of %s is longer than %d bytes", config_file,
					     LINE_MAX_BYTES - 2);
		else
			rc = take_line(s, line, &inside, failure);
	}
	fclose(file);
	return rc;
}
