/* jpeg.c - a module that needs a library which a sandbox has only by the operator's leave. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

__attribute__((visibility("default"))) uint32_t message(void *in, uint32_t in_size, void *out);

/* The text of one of the library's messages: proof that it is loaded and runs. */
uint32_t message(void *in, uint32_t in_size, void *out)
{
	struct jpeg_error_mgr errors;
	(void)in;
	(void)in_size;
	const char *text = jpeg_std_error(&errors)->jpeg_message_table[0];
	memcpy(out, text, strlen(text));
	return (uint32_t)strlen(text);
}
