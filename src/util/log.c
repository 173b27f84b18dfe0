/* log.c - lines on standard error. Any thread. */
#include "util/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *speaker = "adverb";
static enum adv_log_level threshold = ADV_LOG_INFO;
static int journal;

void adv_log_init(const char *who, enum adv_log_level most)
{
	speaker = who;
	threshold = most;
	journal = getenv("JOURNAL_STREAM") != NULL;
}

void adv_log_line(enum adv_log_level level, const char *format, ...)
{
	if (level > threshold)
		return;
	int saved = errno;
	char line[1024];
	int head = journal ? snprintf(line, sizeof(line), "<%d>%s: ", (int)level, speaker)
			   : snprintf(line, sizeof(line), "%s: ", speaker);
	va_list args;
	va_start(args, format);
	int n = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, args);
	va_end(args);
	size_t length = (size_t)head + (n > 0 ? (size_t)n : 0);
	if (length > sizeof(line) - 2)
		length = sizeof(line) - 2;
	line[length++] = '\n';
	ssize_t ignored = write(STDERR_FILENO, line, length);
	(void)ignored;
	errno = saved;
}
