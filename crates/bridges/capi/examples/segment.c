/* Finds objects in a picture, in C11.
 *
 *     cc -std=c11 segment.c $(pkg-config --cflags --libs bedside) -o segment
 *     ./segment edge.bedside colon.ppm polyp
 *
 * The last column is the mask as COCO's compressed run lengths. */
#include <bedside.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ppm.h"

#define MOST_PROMPTS 16

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, bedside_last_error());
    return 1;
}

/* A text of a finding, to be freed; NULL where it can't be had. */
static char *text_of(bedside_answer answer, size_t index, bedside_text which) {
    size_t length;
    if (bedside_answer_text(answer, index, which, NULL, 0, &length)) return NULL;
    char *text = malloc(length + 1);
    if (text && bedside_answer_text(answer, index, which, text, length + 1, &length)) {
        free(text);
        return NULL;
    }
    return text;
}

static int print(bedside_answer answer, size_t index) {
    bedside_finding finding;
    if (bedside_answer_finding(answer, index, &finding)) return failed("finding");
    char *prompt = text_of(answer, index, BEDSIDE_TEXT_PROMPT);
    char *rle = text_of(answer, index, BEDSIDE_TEXT_RLE);
    int bad = !prompt || !rle;
    if (bad) {
        failed("text");
    } else if (finding.present) {
        bedside_box box = finding.bounding_box;
        printf("%s: %.2f, %" PRIu64 " pixels in %" PRIu32 "x%" PRIu32 " at %" PRIu32 ",%" PRIu32
               "\t%s\n",
               prompt, finding.presence, finding.area, box.width, box.height, box.x, box.y, rle);
    } else {
        printf("%s: %s\n", prompt, finding.withheld ? "withheld" : "not present");
    }
    free(prompt);
    free(rle);
    return bad;
}

/* Answer on one frame and print it. A frame loop does this again and again. */
static int segment(bedside_segmenter segmenter, bedside_prompts prompts, const ppm *picture) {
    bedside_frame frame;
    if (bedside_frame_of_buffer(picture->width, picture->height, BEDSIDE_PIXEL_FORMAT_RGB8,
                                picture->pixels, picture->size, picture->width * 3, &frame))
        return failed("frame");
    bedside_answer answer;
    if (bedside_segment(segmenter, prompts, &frame, &answer)) return failed("segment");
    bedside_summary summary;
    int bad = bedside_answer_summary(answer, &summary) ? failed("summary") : 0;
    for (size_t i = 0; !bad && i < summary.findings; i++) bad = print(answer, i);
    bedside_answer_free(answer);
    return bad;
}

int main(int argc, char **argv) {
    if (argc < 4 || argc - 3 > MOST_PROMPTS) {
        fprintf(stderr, "usage: %s BUNDLE PICTURE.ppm PROMPT...\n", argv[0]);
        return 2;
    }
    size_t count = (size_t)argc - 3;
    bedside_prompt words[MOST_PROMPTS] = {{0}};
    for (size_t i = 0; i < count; i++) words[i].text = argv[i + 3];

    ppm picture;
    if (!ppm_read(argv[2], &picture)) {
        fprintf(stderr, "%s: not a whole PPM of 8 bits\n", argv[2]);
        return 1;
    }
    bedside_options options = {0};
    bedside_segmenter segmenter = {0};
    bedside_prompts prompts = {0};
    int bad;
    if (bedside_suited_side(argv[1], words, count, &options.side))
        bad = failed("prompts");
    else if (bedside_segmenter_open(argv[1], &options, &segmenter))
        bad = failed("bundle");
    else if (bedside_prompts_new(segmenter, words, count, &prompts))
        bad = failed("prompts");
    else
        bad = segment(segmenter, prompts, &picture);
    bedside_prompts_free(prompts);
    bedside_segmenter_free(segmenter);
    free(picture.pixels);
    return bad;
}
