/* Wrong use of the library gets an error, each time, and never a crash; and right use beside it gives
 * what it should. Exits with 1 at the first thing that is otherwise.
 *
 *     misuse BUNDLE PICTURE.ppm PROMPT */
#define _GNU_SOURCE
#include <bedside.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../examples/ppm.h"

#define EXPECT(wanted, call) expect(BEDSIDE_STATUS_##wanted, call, #call, __LINE__)
#define CHECK(condition)                                                 \
    do {                                                                 \
        if (!(condition)) {                                              \
            fprintf(stderr, "line %d: %s does not hold\n", __LINE__, #condition); \
            exit(1);                                                     \
        }                                                                \
    } while (0)

static void expect(bedside_status wanted, bedside_status found, const char *call, int line) {
    if (found != wanted) {
        fprintf(stderr, "line %d: %s is %d, not %d: %s\n", line, call, found, wanted, bedside_last_error());
        exit(1);
    }
    if (wanted && !*bedside_last_error()) {
        fprintf(stderr, "line %d: %s left no message\n", line, call);
        exit(1);
    }
}

/* Memory that ends where nothing may be touched: one byte too many ends the program. */
static uint8_t *fenced(size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t whole = (size + page - 1) / page * page;
    uint8_t *start = mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(start != MAP_FAILED);
    CHECK(mprotect(start + whole, page, PROT_NONE) == 0);
    return start + whole - size;
}

static bedside_frame frame_of(const ppm *picture) {
    bedside_frame frame;
    EXPECT(OK, bedside_frame_of_buffer(picture->width, picture->height, BEDSIDE_PIXEL_FORMAT_RGB8,
                                       picture->pixels, picture->size, picture->width * 3, &frame));
    return frame;
}

/* Bytes, padded bytes, run lengths and text are the same mask. */
static void masks(bedside_answer answer) {
    bedside_summary summary;
    bedside_finding finding;
    EXPECT(OK, bedside_answer_summary(answer, &summary));
    EXPECT(OK, bedside_answer_finding(answer, 0, &finding));
    CHECK(summary.findings == 1 && finding.present && summary.decoder_ns > 0);
    size_t width = summary.width, height = summary.height, stride = width + 13;

    uint8_t *mask = fenced(width * height);
    EXPECT(OK, bedside_answer_mask(answer, 0, mask, width * height, width));
    size_t padded_size = stride * (height - 1) + width;
    uint8_t *padded = fenced(padded_size);
    memset(padded, 7, padded_size);
    EXPECT(OK, bedside_answer_mask(answer, 0, padded, padded_size, stride));
    uint64_t area = 0;
    for (size_t y = 0; y < height; y++) {
        CHECK(memcmp(mask + y * width, padded + y * stride, width) == 0);
        for (size_t x = width; x < stride && y + 1 < height; x++) CHECK(padded[y * stride + x] == 7);
        for (size_t x = 0; x < width; x++) area += mask[y * width + x];
    }
    CHECK(area == finding.area);

    size_t count;
    EXPECT(OK, bedside_answer_runs(answer, 0, NULL, 0, &count));
    uint32_t *runs = (uint32_t *)(void *)fenced(count * sizeof *runs);
    EXPECT(OK, bedside_answer_runs(answer, 0, runs, count, &count));
    size_t at = 0;
    for (size_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < runs[i]; k++, at++) CHECK(mask[at % height * width + at / height] == i % 2);
    CHECK(at == width * height);

    size_t length, told;
    EXPECT(OK, bedside_answer_text(answer, 0, BEDSIDE_TEXT_RLE, NULL, 0, &length));
    char *text = (char *)fenced(length + 1);
    EXPECT(OK, bedside_answer_text(answer, 0, BEDSIDE_TEXT_RLE, text, length + 1, &told));
    CHECK(strlen(text) == length && told == length);

    /* Too little room: nothing is written, and the length is told. */
    memset(text, 'x', length + 1);
    EXPECT(ARGUMENT, bedside_answer_text(answer, 0, BEDSIDE_TEXT_RLE, text, length, &told));
    CHECK(text[0] == 'x' && told == length);
    runs[0] = 12345678;
    EXPECT(ARGUMENT, bedside_answer_runs(answer, 0, runs, count - 1, &told));
    CHECK(runs[0] == 12345678 && told == count);
    EXPECT(ARGUMENT, bedside_answer_mask(answer, 0, mask, width * height - 1, width));
    EXPECT(ARGUMENT, bedside_answer_mask(answer, 0, mask, width * height, width - 1));
    EXPECT(ARGUMENT, bedside_answer_mask(answer, 0, mask, width * height, SIZE_MAX / 2));
    EXPECT(ARGUMENT, bedside_answer_mask(answer, 0, mask, 0, 0));
    EXPECT(ARGUMENT, bedside_answer_mask(answer, 0, NULL, width * height, width));
    EXPECT(ARGUMENT, bedside_answer_mask(answer, 0, mask, SIZE_MAX, width));
    EXPECT(ARGUMENT, bedside_answer_mask(answer, 1, mask, width * height, width));
    EXPECT(ARGUMENT, bedside_answer_runs(answer, 0, NULL, count, &count));
    EXPECT(ARGUMENT, bedside_answer_runs(answer, 0, (uint32_t *)((uintptr_t)runs + 1), 1, &count));
    EXPECT(ARGUMENT, bedside_answer_runs(answer, 0, NULL, 0, NULL));
    EXPECT(ARGUMENT, bedside_answer_runs(answer, SIZE_MAX, NULL, 0, &count));
    EXPECT(ARGUMENT, bedside_answer_text(answer, 0, 99, NULL, 0, &length));
    EXPECT(ARGUMENT, bedside_answer_text(answer, 0, -1, NULL, 0, &length));
    EXPECT(ARGUMENT, bedside_answer_text(answer, 9, BEDSIDE_TEXT_PROMPT, NULL, 0, &length));
    EXPECT(ARGUMENT, bedside_answer_text(answer, 0, BEDSIDE_TEXT_PROMPT, NULL, 0, NULL));
    EXPECT(ARGUMENT, bedside_answer_finding(answer, 1, &finding));
    CHECK(!finding.present && finding.area == 0);
    EXPECT(ARGUMENT, bedside_answer_finding(answer, 0, NULL));
    EXPECT(ARGUMENT, bedside_answer_summary(answer, NULL));
}

/* An encoded frame gives the answer that the frame gives, to any prompts and as often as they are asked,
 * on its segmenter alone. */
static void encoded(bedside_segmenter segmenter, bedside_prompts prompts, bedside_prompts others,
                    const bedside_frame *frame, bedside_answer answer) {
    bedside_encoded once;
    bedside_answer asked;
    bedside_summary summary;
    EXPECT(OK, bedside_encode(segmenter, prompts, frame, &once));
    EXPECT(OK, bedside_decode(segmenter, once, others, &asked));
    EXPECT(OK, bedside_answer_free(asked));
    EXPECT(OK, bedside_decode(segmenter, once, prompts, &asked));
    masks(asked);
    EXPECT(OK, bedside_answer_summary(asked, &summary));
    CHECK(summary.encoder_ns == 0);
    EXPECT(OK, bedside_answer_summary(answer, &summary));
    CHECK(summary.encoder_ns > 0);
    size_t count, length;
    EXPECT(OK, bedside_answer_runs(answer, 0, NULL, 0, &count));
    uint32_t *runs = calloc(2 * count, sizeof *runs);
    EXPECT(OK, bedside_answer_runs(answer, 0, runs, count, &length));
    EXPECT(OK, bedside_answer_runs(asked, 0, runs + count, count, &length));
    CHECK(length == count && memcmp(runs, runs + count, count * sizeof *runs) == 0);
    free(runs);
    EXPECT(OK, bedside_answer_free(asked));

    bedside_segmenter shared;
    bedside_encoded none = {77};
    EXPECT(OK, bedside_segmenter_share(segmenter, &shared));
    EXPECT(MISMATCH, bedside_decode(shared, once, prompts, &asked));
    CHECK(asked.id == 0);
    EXPECT(OK, bedside_segmenter_free(shared));
    EXPECT(ARGUMENT, bedside_encode(segmenter, prompts, NULL, &none));
    CHECK(none.id == 0);
    EXPECT(ARGUMENT, bedside_encode(segmenter, prompts, frame, NULL));
    EXPECT(ARGUMENT, bedside_decode(segmenter, once, prompts, NULL));
    EXPECT(OK, bedside_encoded_free(once));
    EXPECT(HANDLE, bedside_encoded_free(once));
    EXPECT(HANDLE, bedside_decode(segmenter, once, prompts, &asked));
    EXPECT(OK, bedside_encoded_free((bedside_encoded){0}));
}

static void frames(bedside_segmenter segmenter, bedside_prompts prompts, const ppm *picture) {
    const bedside_frame good = frame_of(picture);
    bedside_answer answer;
    bedside_frame frame;
    EXPECT(ARGUMENT, bedside_segment(segmenter, prompts, NULL, &answer));
    EXPECT(ARGUMENT, bedside_segment(segmenter, prompts, &good, NULL));
#define BAD(wanted, change)                                           \
    do {                                                              \
        frame = good;                                                 \
        change;                                                       \
        answer.id = 77;                                               \
        EXPECT(wanted, bedside_segment(segmenter, prompts, &frame, &answer)); \
        CHECK(answer.id == 0);                                        \
        EXPECT(wanted, bedside_recognize(segmenter, &frame, "endoscopy", NULL, &answer)); \
    } while (0)
    BAD(FRAME, frame.width = 0);
    BAD(FRAME, frame.height = 15);
    BAD(FRAME, frame.width = UINT32_MAX; frame.height = UINT32_MAX);
    BAD(FRAME, frame.height++);
    BAD(FRAME, frame.planes[0].size--);
    BAD(FRAME, frame.planes[0].size = 0);
    BAD(FRAME, frame.planes[0].stride--);
    BAD(FRAME, frame.planes[0].stride = SIZE_MAX);
    BAD(FRAME, frame.format = BEDSIDE_PIXEL_FORMAT_NV12; frame.planes[1].data = NULL);
    BAD(ARGUMENT, frame.planes[0].size = SIZE_MAX);
    BAD(ARGUMENT, frame.planes[0].data = NULL);
    BAD(ARGUMENT, frame.format = 5);
    BAD(ARGUMENT, frame.format = -1);
    BAD(ARGUMENT, frame.yuv_space = 4);
    EXPECT(ARGUMENT, bedside_frame_of_buffer(64, 64, 9, picture->pixels, picture->size, 64, &frame));
    EXPECT(ARGUMENT, bedside_frame_of_buffer(64, 64, 1, NULL, 64 * 64, 64, &frame));
    EXPECT(ARGUMENT, bedside_frame_of_buffer(64, 64, 1, picture->pixels, 64 * 64, 64, NULL));
    EXPECT(FRAME, bedside_frame_of_buffer(64, 64, 1, picture->pixels, 64 * 64 - 1, 64, &frame));
    EXPECT(FRAME, bedside_frame_of_buffer(64, 64, 1, picture->pixels, 64 * 64, 63, &frame));
    EXPECT(FRAME, bedside_frame_of_buffer(64, 64, 3, picture->pixels, 64 * 64, SIZE_MAX, &frame));

    /* Every format, at the end of what may be read, odd sizes included. */
    for (int format = 0; format <= 4; format++)
        for (uint32_t side = 64; side <= 65; side++) {
            uint32_t half = (side + 1) / 2;
            size_t row = format == 0 ? side * 3u : format == 4 ? half * 4u : side;
            size_t chroma = format == 2 || format == 3 ? 2u * half * half : 0;
            size_t size = row * side + chroma;
            uint8_t *pixels = fenced(size);
            memset(pixels, 90, size);
            EXPECT(OK, bedside_frame_of_buffer(side, side, format, pixels, size, row, &frame));
            frame.yuv_space = BEDSIDE_YUV_SPACE_BT709_FULL;
            EXPECT(OK, bedside_segment(segmenter, prompts, &frame, &answer));
            EXPECT(OK, bedside_answer_free(answer));
            EXPECT(FRAME, bedside_frame_of_buffer(side, side, format, pixels, size - 1, row, &frame));
        }
}

static void prompts_and_options(const char *bundle, bedside_segmenter segmenter, const char *word) {
    bedside_prompt prompt = {word, NULL, NULL};
    bedside_prompts ready;
    uint32_t side;
    EXPECT(ARGUMENT, bedside_prompts_new(segmenter, NULL, 1, &ready));
    EXPECT(ARGUMENT, bedside_prompts_new(segmenter, &prompt, 1, NULL));
    EXPECT(ARGUMENT, bedside_prompts_new(segmenter, &prompt, SIZE_MAX, &ready));
    EXPECT(PROMPT, bedside_prompts_new(segmenter, &prompt, 0, &ready));
    prompt.text = NULL;
    EXPECT(ARGUMENT, bedside_prompts_new(segmenter, &prompt, 1, &ready));
    prompt.text = "\xff\xfe";
    EXPECT(ARGUMENT, bedside_prompts_new(segmenter, &prompt, 1, &ready));
    prompt.text = "";
    EXPECT(PROMPT, bedside_prompts_new(segmenter, &prompt, 1, &ready));
    prompt.text = "a thing that nobody knows";
    EXPECT(PROMPT, bedside_prompts_new(segmenter, &prompt, 1, &ready));
    CHECK(ready.id == 0);
    EXPECT(PROMPT, bedside_suited_side(bundle, &prompt, 1, &side));
    prompt = (bedside_prompt){word, "smell", NULL};
    EXPECT(ARGUMENT, bedside_prompts_new(segmenter, &prompt, 1, &ready));

    prompt = (bedside_prompt){word, NULL, NULL};
    bedside_segmenter opened;
    EXPECT(ARGUMENT, bedside_segmenter_open(NULL, NULL, &opened));
    EXPECT(ARGUMENT, bedside_segmenter_open(bundle, NULL, NULL));
    EXPECT(ARGUMENT, bedside_segmenter_open("\xff", NULL, &opened));
    EXPECT(BUNDLE, bedside_segmenter_open("no such bundle", NULL, &opened));
    EXPECT(BUNDLE, bedside_suited_side("no such bundle", &prompt, 1, &side));
#define REFUSED(wanted, ...)                                          \
    do {                                                              \
        bedside_options options = {__VA_ARGS__};                      \
        EXPECT(wanted, bedside_segmenter_open(bundle, &options, &opened)); \
        CHECK(opened.id == 0);                                        \
    } while (0)
    REFUSED(ARGUMENT, .precision = 4);
    REFUSED(ARGUMENT, .precision = -1);
    REFUSED(CONFIG, .side = 1);
    REFUSED(CONFIG, .threads = 257);
    REFUSED(CONFIG, .presence = 1.5f);
    REFUSED(CONFIG, .presence = NAN);
    REFUSED(ENGINE, .backend = "abacus");
    REFUSED(ARGUMENT, .backend = "\xff");
}

/* Handles of nothing: zero, made up, freed, and of another kind. */
static void handles(bedside_segmenter segmenter, bedside_prompts prompts, const bedside_frame *frame,
                    bedside_answer answer, const char *word) {
    bedside_segmenter shared;
    bedside_prompts again;
    bedside_answer freed;
    bedside_prompt prompt = {word, NULL, NULL};
    EXPECT(OK, bedside_segmenter_share(segmenter, &shared));
    EXPECT(OK, bedside_prompts_new(shared, &prompt, 1, &again));
    EXPECT(OK, bedside_segment(shared, again, frame, &freed));
    EXPECT(OK, bedside_segmenter_free(shared));
    EXPECT(OK, bedside_answer_free(freed));
    EXPECT(OK, bedside_prompts_free(again));
    const uint64_t none[] = {0, UINT64_MAX, 1u << 31, shared.id, again.id, freed.id};
    const uint64_t kinds[] = {segmenter.id, prompts.id, answer.id};
    for (size_t i = 0; i < sizeof none / sizeof *none + 3; i++) {
        size_t other = i < sizeof none / sizeof *none ? 3 : i - sizeof none / sizeof *none;
        uint64_t id = other == 3 ? none[i] : kinds[other];
        bedside_segmenter s = {id};
        bedside_prompts p = {id};
        bedside_encoded e = {id};
        bedside_answer a = {id}, out;
        size_t length;
        uint8_t byte;
        bedside_summary summary;
        bedside_finding finding;
        EXPECT(HANDLE, bedside_decode(segmenter, e, prompts, &out));
        if (id) EXPECT(HANDLE, bedside_encoded_free(e));
        if (other != 0) {
            EXPECT(HANDLE, bedside_segmenter_share(s, &shared));
            EXPECT(HANDLE, bedside_prompts_new(s, &prompt, 1, &again));
            EXPECT(HANDLE, bedside_segment(s, prompts, frame, &out));
            EXPECT(HANDLE, bedside_encode(s, prompts, frame, &e));
            EXPECT(HANDLE, bedside_recognize(s, frame, "endoscopy", NULL, &out));
            if (id) EXPECT(HANDLE, bedside_segmenter_free(s));
        }
        if (other != 1) {
            EXPECT(HANDLE, bedside_segment(segmenter, p, frame, &out));
            if (id) EXPECT(HANDLE, bedside_prompts_free(p));
        }
        if (other != 2) {
            EXPECT(HANDLE, bedside_answer_summary(a, &summary));
            EXPECT(HANDLE, bedside_answer_finding(a, 0, &finding));
            EXPECT(HANDLE, bedside_answer_text(a, 0, 0, NULL, 0, &length));
            EXPECT(HANDLE, bedside_answer_runs(a, 0, NULL, 0, &length));
            EXPECT(HANDLE, bedside_answer_mask(a, 0, &byte, 1, 1));
            if (id) EXPECT(HANDLE, bedside_answer_free(a));
        }
    }
    EXPECT(OK, bedside_segmenter_free((bedside_segmenter){0}));
    EXPECT(OK, bedside_prompts_free((bedside_prompts){0}));
    EXPECT(OK, bedside_answer_free((bedside_answer){0}));
}

struct work {
    bedside_segmenter segmenter;
    bedside_prompts prompts;
    const bedside_frame *frame;
};

/* Until the segmenter is freed by another thread. */
static void *answer_on(void *argument) {
    const struct work *work = argument;
    CHECK(!*bedside_last_error());
    for (;;) {
        bedside_answer answer;
        bedside_status status = bedside_segment(work->segmenter, work->prompts, work->frame, &answer);
        if (status == BEDSIDE_STATUS_HANDLE) return NULL;
        CHECK(status == BEDSIDE_STATUS_OK);
        EXPECT(OK, bedside_answer_free(answer));
    }
}

/* Four threads on one segmenter, which is freed under them. */
static void threads(bedside_segmenter segmenter, bedside_prompts prompts, const bedside_frame *frame) {
    struct work work = {.prompts = prompts, .frame = frame};
    EXPECT(OK, bedside_segmenter_share(segmenter, &work.segmenter));
    EXPECT(HANDLE, bedside_answer_free((bedside_answer){UINT64_MAX}));
    char own[200];
    strncpy(own, bedside_last_error(), sizeof own - 1);
    own[sizeof own - 1] = '\0';
    pthread_t all[4];
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&all[i], NULL, answer_on, &work) == 0);
    usleep(200000);
    EXPECT(OK, bedside_segmenter_free(work.segmenter));
    for (int i = 0; i < 4; i++) CHECK(pthread_join(all[i], NULL) == 0);
    CHECK(strncmp(own, bedside_last_error(), sizeof own - 1) == 0);
}

int main(int argc, char **argv) {
    ppm picture;
    CHECK(argc == 4 && ppm_read(argv[2], &picture));
    CHECK(strcmp(bedside_last_error(), "") == 0 && strchr(bedside_version(), '.'));
    uint8_t *pixels = fenced(picture.size);
    memcpy(pixels, picture.pixels, picture.size);
    free(picture.pixels);
    picture.pixels = pixels;

    bedside_options options = {.precision = BEDSIDE_PRECISION_INT8, .threads = 1};
    bedside_prompt prompt = {argv[3], NULL, NULL};
    bedside_segmenter segmenter;
    bedside_prompts prompts;
    bedside_answer answer;
    EXPECT(OK, bedside_segmenter_open(argv[1], &options, &segmenter));
    EXPECT(OK, bedside_prompts_new(segmenter, &prompt, 1, &prompts));
    bedside_frame frame = frame_of(&picture);
    EXPECT(OK, bedside_segment(segmenter, prompts, &frame, &answer));
    masks(answer);
    frames(segmenter, prompts, &picture);
    prompts_and_options(argv[1], segmenter, argv[3]);
    bedside_prompts others;
    bedside_prompt head = {"fetal head", NULL, NULL};
    EXPECT(OK, bedside_prompts_new(segmenter, &head, 1, &others));
    encoded(segmenter, prompts, others, &frame, answer);
    EXPECT(OK, bedside_prompts_free(others));
    handles(segmenter, prompts, &frame, answer, argv[3]);
    threads(segmenter, prompts, &frame);

    /* An answer outlives what it came of, and what was meant for another precision is refused. */
    bedside_segmenter other;
    bedside_answer none;
    options.precision = BEDSIDE_PRECISION_F32;
    EXPECT(OK, bedside_segmenter_open(argv[1], &options, &other));
    EXPECT(MISMATCH, bedside_segment(other, prompts, &frame, &none));
    EXPECT(OK, bedside_segmenter_free(other));
    EXPECT(OK, bedside_segmenter_free(segmenter));
    EXPECT(OK, bedside_prompts_free(prompts));
    masks(answer);
    EXPECT(OK, bedside_answer_free(answer));
    EXPECT(HANDLE, bedside_answer_free(answer));
    puts("every wrong use got its error");
    return 0;
}
