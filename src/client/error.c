/* error.c - the text of a thread's last failed call. Any thread. */
#include <stdarg.h>
#include <stdio.h>

#include "client/internal.h"

static _Thread_local char buffer[ADV_CLIENT_ERROR_BYTES];
static _Thread_local const char *current = "";

const char *adv_error(void)
{
	return current;
}

const char *adv_version(void)
{
	return ADVERB_VERSION;
}

enum adv_status adv_client_fail(enum adv_status status, const char *format, ...)
{
	char text[ADV_CLIENT_ERROR_BYTES];
	va_list args;
	va_start(args, format);
	/* Not straight into the buffer: an argument may be the text before. */
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(buffer, sizeof(buffer), "%s", text);
	current = buffer;
	return status;
}

enum adv_status adv_client_fail_text(enum adv_status status, const char *text)
{
	current = text;
	return status;
}
