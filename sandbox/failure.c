/* failure.c - error sentences of the warden and the sandboxes. Any thread. */
#include "sandbox/failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int adv_failure_set(struct adv_failure *failure, int error, const char *hint, const char *format,
		    ...)
{
	size_t size = sizeof(failure->text);
	va_list args;
	va_start(args, format);
	int n = vsnprintf(failure->text, size, format, args);
	va_end(args);
	size_t used = n < 0 ? 0 : (size_t)n;
	if (used < size && error != 0)
		used += (size_t)snprintf(failure->text + used, size - used, ": %s",
					 strerror(error));
	if (used < size && hint != NULL)
		snprintf(failure->text + used, size - used, "; %s", hint);
	failure->error = error;
	return error != 0 ? -error : -EINVAL;
}
