/* Memory does not grow: 100,000 rounds of every call that runs no model, then as many frames as fit
 * into some seconds. Prints resident memory after a tenth and at the end of both.
 *
 *     endure BUNDLE PICTURE.ppm PROMPT SECONDS */
#define _GNU_SOURCE
#include <bedside.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../examples/ppm.h"

#define ROUNDS 100000
/* Of pages that the allocator keeps or gives back as it likes. */
#define SLACK_KB 4096

#define OK(call)                                                  \
    do {                                                          \
        if (call) {                                               \
            fprintf(stderr, "%s: %s\n", #call, bedside_last_error()); \
            exit(1);                                              \
        }                                                         \
    } while (0)

static long resident_kb(void) {
    long size, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &size, &pages) != 2) exit(1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int flat(const char *what, long calls, long early, long late) {
    printf("%s: %ld calls, %ld KB resident after a tenth, %ld KB at the end\n", what, calls, early, late);
    return late - early > SLACK_KB;
}

/* Every call that runs no model, right and wrong. */
static long cheap(bedside_segmenter segmenter, bedside_answer answer, bedside_prompt prompt,
                  const bedside_frame *frame) {
    static char text[65536];
    static uint32_t counts[16384];
    static uint8_t mask[4096 * 4096];
    size_t length;
    bedside_prompts prompts;
    bedside_answer none;
    bedside_summary summary;
    bedside_finding finding;
    bedside_frame empty = *frame, whole;
    empty.planes[0].size = 0;
    const bedside_plane *plane = frame->planes;
    OK(bedside_prompts_new(segmenter, &prompt, 1, &prompts));
    OK(bedside_frame_of_buffer(frame->width, frame->height, frame->format, plane->data, plane->size,
                               plane->stride, &whole));
    OK(!bedside_segment(segmenter, prompts, &empty, &none));
    OK(bedside_answer_summary(answer, &summary));
    OK(bedside_answer_finding(answer, 0, &finding));
    OK(bedside_answer_text(answer, 0, BEDSIDE_TEXT_RLE, text, sizeof text, &length));
    OK(bedside_answer_runs(answer, 0, counts, sizeof counts / sizeof *counts, &length));
    OK(bedside_answer_mask(answer, 0, mask, sizeof mask, summary.width));
    OK(bedside_prompts_free(prompts));
    OK(!bedside_prompts_free(prompts));
    return 10;
}

int main(int argc, char **argv) {
    ppm picture;
    if (argc != 5 || !ppm_read(argv[2], &picture)) return 2;
    bedside_options options = {.precision = BEDSIDE_PRECISION_INT8, .side = 192, .threads = 1};
    bedside_prompt prompt = {argv[3], NULL, NULL};
    bedside_segmenter segmenter;
    bedside_prompts prompts;
    bedside_answer answer;
    bedside_frame frame;
    OK(bedside_segmenter_open(argv[1], &options, &segmenter));
    OK(bedside_prompts_new(segmenter, &prompt, 1, &prompts));
    OK(bedside_frame_of_buffer(picture.width, picture.height, BEDSIDE_PIXEL_FORMAT_RGB8, picture.pixels,
                               picture.size, picture.width * 3, &frame));
    OK(bedside_segment(segmenter, prompts, &frame, &answer));

    long calls = 0, early = 0;
    for (int i = 0; i < ROUNDS; i++) {
        if (i == ROUNDS / 10) early = resident_kb();
        calls += cheap(segmenter, answer, prompt, &frame);
    }
    int grew = flat("without the model", calls, early, resident_kb());

    double start = seconds(), all = atof(argv[4]);
    for (calls = 0, early = 0; seconds() - start < all; calls++) {
        bedside_answer next;
        if (!early && seconds() - start > all / 10) early = resident_kb();
        OK(bedside_segment(segmenter, prompts, &frame, &next));
        OK(bedside_answer_free(next));
    }
    grew |= flat("frames", calls, early, resident_kb());
    OK(bedside_answer_free(answer));
    OK(bedside_prompts_free(prompts));
    OK(bedside_segmenter_free(segmenter));
    free(picture.pixels);
    return grew;
}
