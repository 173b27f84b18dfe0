/*
 * thumbnail.c - a JPEG in, a JPEG of at most 256 x 256 pixels out. libjpeg is linked in: the sandbox has none.
 *
 * libjpeg scales by powers of two while it decodes, which is nearly free; what remains is an average over areas.
 */
#include <adverb/function.h>
#include <jpeglib.h>

#include <jerror.h>
#include <setjmp.h>
#include <stdlib.h>

#define LONGEST 256
#define QUALITY 85

/* libjpeg reports errors by a call that must not return. */
struct errors {
	struct jpeg_error_mgr manager;
	jmp_buf escape;
	char text[JMSG_LENGTH_MAX];
};

/* The messages by number, as libjpeg's own header lists them; two of them are its version, which it does not export. */
#define JCOPYRIGHT_SHORT ""
#define JVERSION	 ""
static const char *const messages[] = {
#define JMESSAGE(code, string) string,
#include <jerror.h>
	NULL};

static void escape(j_common_ptr info)
{
	struct errors *e = (struct errors *)info->err;
	int code = e->manager.msg_code;
	int last = (int)(sizeof(messages) / sizeof(messages[0])) - 1;
	const char *text = code > 0 && code < last ? messages[code] : "unknown error";
	const int *n = e->manager.msg_parm.i;
	if (strstr(text, "%s") != NULL)
		snprintf(e->text, sizeof(e->text), text, e->manager.msg_parm.s);
	else
		snprintf(e->text, sizeof(e->text), text, n[0], n[1], n[2], n[3]);
	longjmp(e->escape, 1);
}

static void silent(j_common_ptr info)
{
	(void)info;
}

static void silent_level(j_common_ptr info, int level)
{
	(void)info;
	(void)level;
}

static void silent_format(j_common_ptr info, char *buffer)
{
	(void)info;
	buffer[0] = '\0';
}

/*
 * Instead of jpeg_std_error(): Debian's libjpeg.a is built for executables, and the object with that function, which writes to
 * stderr, is the one that cannot be linked into a shared object.
 */
static struct jpeg_error_mgr *errors_init(struct errors *e)
{
	memset(e, 0, sizeof(*e));
	e->manager.error_exit = escape;
	e->manager.emit_message = silent_level;
	e->manager.output_message = silent;
	e->manager.format_message = silent_format;
	e->manager.reset_error_mgr = silent;
	return &e->manager;
}

struct image {
	uint8_t *pixels; /* three bytes each */
	uint32_t width, height;
};

/* The largest of libjpeg's scales that leaves at least the pixels we want. */
static unsigned denominator(uint32_t width, uint32_t height)
{
	uint32_t longest = width > height ? width : height;
	unsigned d = 1;
	while (d < 8 && longest / (2 * d) >= LONGEST)
		d *= 2;
	return d;
}

static int decode(const void *in, uint32_t size, struct image *image, struct errors *errors)
{
	struct jpeg_decompress_struct d = {.err = errors_init(errors)};
	image->pixels = NULL;
	if (setjmp(errors->escape)) {
		jpeg_destroy_decompress(&d);
		free(image->pixels);
		return -1;
	}
	jpeg_create_decompress(&d);
	jpeg_mem_src(&d, in, size);
	jpeg_read_header(&d, TRUE);
	d.out_color_space = JCS_RGB;
	d.scale_num = 1;
	d.scale_denom = denominator(d.image_width, d.image_height);
	jpeg_start_decompress(&d);
	image->width = d.output_width;
	image->height = d.output_height;
	image->pixels = malloc((size_t)d.output_width * d.output_height * 3);
	if (image->pixels == NULL) {
		snprintf(errors->text, sizeof(errors->text), "not enough memory for the picture");
		longjmp(errors->escape, 1);
	}
	while (d.output_scanline < d.output_height) {
		JSAMPROW row = image->pixels + (size_t)d.output_scanline * d.output_width * 3;
		jpeg_read_scanlines(&d, &row, 1);
	}
	jpeg_finish_decompress(&d);
	jpeg_destroy_decompress(&d);
	return 0;
}

/* One pixel of the small picture: the mean of those it stands for. */
static void average(const struct image *from, uint32_t x0, uint32_t x1, uint32_t y0, uint32_t y1,
		    uint8_t *to)
{
	uint32_t sum[3] = {0, 0, 0}, n = 0;
	for (uint32_t y = y0; y < y1; y++)
		for (uint32_t x = x0; x < x1; x++, n++)
			for (int c = 0; c < 3; c++)
				sum[c] +=
					from->pixels[((size_t)y * from->width + x) * 3 + (size_t)c];
	for (int c = 0; c < 3; c++)
		to[c] = (uint8_t)((sum[c] + n / 2) / n);
}

static int shrink(const struct image *from, struct image *to)
{
	uint32_t longest = from->width > from->height ? from->width : from->height;
	uint32_t wanted = longest < LONGEST ? longest : LONGEST;
	to->width = (uint32_t)((uint64_t)from->width * wanted / longest);
	to->height = (uint32_t)((uint64_t)from->height * wanted / longest);
	to->width += to->width == 0;
	to->height += to->height == 0;
	to->pixels = malloc((size_t)to->width * to->height * 3);
	if (to->pixels == NULL)
		return -1;
	for (uint32_t y = 0; y < to->height; y++)
		for (uint32_t x = 0; x < to->width; x++)
			average(from, x * from->width / to->width,
				(x + 1) * from->width / to->width, y * from->height / to->height,
				(y + 1) * from->height / to->height,
				to->pixels + ((size_t)y * to->width + x) * 3);
	return 0;
}

/* The encoded picture, from malloc; 0: libjpeg said no. */
static unsigned long encode(const struct image *image, unsigned char **jpeg, struct errors *errors)
{
	struct jpeg_compress_struct c = {.err = errors_init(errors)};
	unsigned long size = 0;
	*jpeg = NULL;
	if (setjmp(errors->escape)) {
		jpeg_destroy_compress(&c);
		return 0;
	}
	jpeg_create_compress(&c);
	jpeg_mem_dest(&c, jpeg, &size);
	c.image_width = image->width;
	c.image_height = image->height;
	c.input_components = 3;
	c.in_color_space = JCS_RGB;
	jpeg_set_defaults(&c);
	jpeg_set_quality(&c, QUALITY, TRUE);
	jpeg_start_compress(&c, TRUE);
	while (c.next_scanline < c.image_height) {
		JSAMPROW row = image->pixels + (size_t)c.next_scanline * c.image_width * 3;
		jpeg_write_scanlines(&c, &row, 1);
	}
	jpeg_finish_compress(&c);
	jpeg_destroy_compress(&c);
	return size;
}

static uint32_t thumbnail(struct adv_context *ctx, const void *in, uint32_t in_size, void *out)
{
	struct errors errors;
	struct image large, small;
	unsigned char *jpeg = NULL;
	if (decode(in, in_size, &large, &errors) < 0)
		return adv_fail(ctx, out, "cannot decode the picture: %s", errors.text);
	adv_log(ctx, "decoded to %u x %u", large.width, large.height);
	int rc = shrink(&large, &small);
	free(large.pixels);
	if (rc < 0)
		return adv_fail(ctx, out, "not enough memory for the thumbnail");
	unsigned long size = encode(&small, &jpeg, &errors);
	free(small.pixels);
	uint32_t result =
		size > 0 ? adv_reply(ctx, out, jpeg, (uint32_t)size)
			 : adv_fail(ctx, out, "cannot encode the thumbnail: %s", errors.text);
	free(jpeg);
	return result;
}
ADV_FUNCTION(thumbnail, "a JPEG in, a JPEG of at most 256 x 256 pixels out");
