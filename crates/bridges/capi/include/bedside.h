/* bedside: text-prompted biomedical segmentation on the device, for C and C++.
 *
 * Research use only. Not a medical device. Not for clinical decisions.
 *
 * Written by cbindgen from crates/bridges/capi/src; don't edit.
 *
 * Order: open a segmenter, make prompts ready, then for each frame: segment, read the answer, free it. To ask several sets of
 * prompts of a frame: encode it, decode for each.
 *
 * Errors. Every call but bedside_version and bedside_last_error returns a bedside_status. Where it is
 * not BEDSIDE_STATUS_OK, nothing was done, what the call would have written is all zero, and
 * bedside_last_error has the cause and a remedy. No input makes the library end the program.
 *
 * Handles. Segmenters, prompts, encoded frames and answers are numbers that are given once: a handle
 * that was freed, made up or is of another kind gets BEDSIDE_STATUS_HANDLE. Nothing that a handle names is lent out;
 * texts and masks are copied to where the caller says, and stay there.
 *
 * Addresses. NULL is refused with BEDSIDE_STATUS_ARGUMENT where it is not allowed. Any other address
 * must be one of what the call says, texts must end in a zero byte, and as many bytes must be there as
 * the caller states. Frames and texts are read during the call only, and must not change meanwhile.
 *
 * Threads. Any function may be called on any thread, and any handle used on any thread. A segmenter
 * does one thing at a time: a second call waits for the first. For frames side by side give each
 * thread a segmenter of its own by bedside_segmenter_share. Prompts and answers may be read by several
 * threads at once. bedside_last_error is about the calling thread alone. After fork, the child must
 * not use handles of its parent.
 */

#ifndef BEDSIDE_H
#define BEDSIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Most planes that a pixel format has.
 */
#define BEDSIDE_PLANES 3

/**
 * What a call came to. Where it is not `BEDSIDE_STATUS_OK`, `bedside_last_error` has the cause and
 * the remedy.
 */
enum bedside_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Done.
     */
    BEDSIDE_STATUS_OK = 0,
    /**
     * A mistake in the program: NULL, a number that is none of its enumeration, text that is not
     * UTF-8, an index past the end, a buffer that is too small.
     */
    BEDSIDE_STATUS_ARGUMENT = 1,
    /**
     * A handle of nothing: never made, freed, or of another kind.
     */
    BEDSIDE_STATUS_HANDLE = 2,
    /**
     * The bundle is damaged, cut off, of another format, or lacks the precision.
     */
    BEDSIDE_STATUS_BUNDLE = 3,
    /**
     * A prompt is unknown, ambiguous, or of a type that the weights were not trained on.
     */
    BEDSIDE_STATUS_PROMPT = 4,
    /**
     * The frame is too small or too large, or its bytes end before its last pixel.
     */
    BEDSIDE_STATUS_FRAME = 5,
    /**
     * The backend failed, or answered with NaN, infinite or absurd values.
     */
    BEDSIDE_STATUS_ENGINE = 6,
    /**
     * One of the bundle's own test frames got another mask here: there is no segmenter.
     */
    BEDSIDE_STATUS_SELF_TEST = 7,
    /**
     * Prompts of another bundle or precision, or an encoded frame of another segmenter, or one that
     * was encoded for prompts that see frames the other way round.
     */
    BEDSIDE_STATUS_MISMATCH = 8,
    /**
     * An option is out of its range.
     */
    BEDSIDE_STATUS_CONFIG = 9,
    /**
     * What was measured on this device could not be kept or read.
     */
    BEDSIDE_STATUS_CACHE = 10,
    /**
     * A fault of bedside itself. The segmenter that it happened in answers nothing more: free it.
     */
    BEDSIDE_STATUS_INTERNAL = 11,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum bedside_status bedside_status;
#else
typedef int32_t bedside_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Kind of imaging.
 */
enum bedside_modality
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * None that the model knows, or the bundle does not tell.
     */
    BEDSIDE_MODALITY_UNKNOWN = 0,
    /**
     * Computed tomography.
     */
    BEDSIDE_MODALITY_CT = 1,
    /**
     * Magnetic resonance imaging.
     */
    BEDSIDE_MODALITY_MRI = 2,
    /**
     * Radiography.
     */
    BEDSIDE_MODALITY_X_RAY = 3,
    /**
     * Sonography.
     */
    BEDSIDE_MODALITY_ULTRASOUND = 4,
    /**
     * Microscopy of tissue.
     */
    BEDSIDE_MODALITY_PATHOLOGY = 5,
    /**
     * Cameras inside the body.
     */
    BEDSIDE_MODALITY_ENDOSCOPY = 6,
    /**
     * Magnified skin.
     */
    BEDSIDE_MODALITY_DERMOSCOPY = 7,
    /**
     * Photographs of the retina.
     */
    BEDSIDE_MODALITY_FUNDUS = 8,
    /**
     * Optical coherence tomography.
     */
    BEDSIDE_MODALITY_OCT = 9,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum bedside_modality bedside_modality;
#else
typedef int32_t bedside_modality;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Why a prompt is not answered on a frame.
 */
enum bedside_withheld
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * It is answered.
     */
    BEDSIDE_WITHHELD_NO = 0,
    /**
     * The frame looks like another kind of imaging than the prompt is for.
     */
    BEDSIDE_WITHHELD_OTHER_MODALITY = 1,
    /**
     * The frame is unlike those that the model learned the object from.
     */
    BEDSIDE_WITHHELD_UNFAMILIAR = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum bedside_withheld bedside_withheld;
#else
typedef int32_t bedside_withheld;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Number format of weights and arithmetic.
 */
enum bedside_precision
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The bundle's choice.
     */
    BEDSIDE_PRECISION_DEFAULT = 0,
    /**
     * 32-bit floating point.
     */
    BEDSIDE_PRECISION_F32 = 1,
    /**
     * 16-bit floating point.
     */
    BEDSIDE_PRECISION_F16 = 2,
    /**
     * 8-bit integers.
     */
    BEDSIDE_PRECISION_INT8 = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum bedside_precision bedside_precision;
#else
typedef int32_t bedside_precision;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How the bytes of a frame lie. Chroma planes of odd sizes are rounded up.
 */
enum bedside_pixel_format
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * One plane: red, green, blue, 3 bytes a pixel.
     */
    BEDSIDE_PIXEL_FORMAT_RGB8 = 0,
    /**
     * One plane: a luminance byte a pixel, full range.
     */
    BEDSIDE_PIXEL_FORMAT_GRAY8 = 1,
    /**
     * Two planes: Y; U and V in turn at half the width and height.
     */
    BEDSIDE_PIXEL_FORMAT_NV12 = 2,
    /**
     * Three planes: Y; U, V at half the width and height.
     */
    BEDSIDE_PIXEL_FORMAT_I420 = 3,
    /**
     * One plane: Y0 U Y1 V for each two pixels of a row.
     */
    BEDSIDE_PIXEL_FORMAT_YUYV = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum bedside_pixel_format bedside_pixel_format;
#else
typedef int32_t bedside_pixel_format;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What Y, U and V mean in frames of the YUV formats.
 */
enum bedside_yuv_space
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * ITU-R BT.601, 16 to 235: webcams and standard-definition capture.
     */
    BEDSIDE_YUV_SPACE_BT601_LIMITED = 0,
    /**
     * ITU-R BT.601, 0 to 255: MJPEG cameras.
     */
    BEDSIDE_YUV_SPACE_BT601_FULL = 1,
    /**
     * ITU-R BT.709, 16 to 235: HDMI and SDI capture of 720 lines and more.
     */
    BEDSIDE_YUV_SPACE_BT709_LIMITED = 2,
    /**
     * ITU-R BT.709, 0 to 255.
     */
    BEDSIDE_YUV_SPACE_BT709_FULL = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum bedside_yuv_space bedside_yuv_space;
#else
typedef int32_t bedside_yuv_space;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A text of a finding.
 */
enum bedside_text
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The prompt as it was asked; where modality or site settled which of several objects its words
     * mean, that object's full text.
     */
    BEDSIDE_TEXT_PROMPT = 0,
    /**
     * Name of the object type; empty for a prompt outside the table.
     */
    BEDSIDE_TEXT_OBJECT = 1,
    /**
     * Class that the model reads from the region; empty where the bundle does not tell.
     */
    BEDSIDE_TEXT_META_OBJECT = 2,
    /**
     * The mask as COCO's compressed run lengths, which pycocotools reads; empty where there is none.
     */
    BEDSIDE_TEXT_RLE = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum bedside_text bedside_text;
#else
typedef int32_t bedside_text;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What to find.
 */
typedef struct bedside_prompt {
    /**
     * The words, such as `"polyp"` or `"tumor in breast ultrasound"`.
     */
    const char *text;
    /**
     * Kind of imaging, where the words alone may mean several objects: `"ct"`, `"mri"`, `"x-ray"`,
     * `"ultrasound"`, `"pathology"`, `"endoscopy"`, `"dermoscopy"`, `"fundus"` or `"oct"`. May be
     * NULL.
     */
    const char *modality;
    /**
     * Part of the body, likewise. May be NULL.
     */
    const char *site;
} bedside_prompt;

/**
 * How a bundle is run. All zero: the bundle's own choices.
 */
typedef struct bedside_options {
    /**
     * A `bedside_precision`.
     */
    int32_t precision;
    /**
     * Side of the model's input in pixels, one of those that the bundle has; 0: the bundle's own.
     * `bedside_suited_side` says which suits some prompts.
     */
    uint32_t side;
    /**
     * Threads of the engine; 0: one per core, at most 4.
     */
    uint32_t threads;
    /**
     * Least probability of presence, up to 1, in place of the bundle's; 0: the bundle's own; below
     * 0: no mask is withheld.
     */
    float presence;
    /**
     * Name of the engine; NULL: `"tract-cpu"`.
     */
    const char *backend;
    /**
     * Folder for what is learned of this device, such as passed self-tests; NULL: `bedside` in the
     * user's cache folder.
     */
    const char *cache;
} bedside_options;

/**
 * A loaded bundle that has passed its self-test. `{0}` is none.
 */
typedef struct bedside_segmenter {
    /**
     * For bedside alone.
     */
    uint64_t id;
} bedside_segmenter;

/**
 * Prompts made ready. `{0}` is none.
 */
typedef struct bedside_prompts {
    /**
     * For bedside alone.
     */
    uint64_t id;
} bedside_prompts;

/**
 * One plane of a frame, in memory of the caller's.
 */
typedef struct bedside_plane {
    /**
     * The first pixel of the top row.
     */
    const uint8_t *data;
    /**
     * Bytes from there on that may be read. The padding of the last row may be missing.
     */
    size_t size;
    /**
     * Bytes from one row to the next.
     */
    size_t stride;
} bedside_plane;

/**
 * A picture in memory of the caller's: read during a call, and not kept.
 */
typedef struct bedside_frame {
    /**
     * Pixels in a row, 16 to 16384.
     */
    uint32_t width;
    /**
     * Rows, 16 to 16384.
     */
    uint32_t height;
    /**
     * A `bedside_pixel_format`.
     */
    int32_t format;
    /**
     * A `bedside_yuv_space`; ignored for RGB and gray.
     */
    int32_t yuv_space;
    /**
     * As many as the format has, in its order; the others are ignored.
     */
    struct bedside_plane planes[BEDSIDE_PLANES];
} bedside_frame;

/**
 * The findings on one frame. `{0}` is none.
 */
typedef struct bedside_answer {
    /**
     * For bedside alone.
     */
    uint64_t id;
} bedside_answer;

/**
 * A frame after the image encoder, which any prompts can be asked of. `{0}` is none.
 */
typedef struct bedside_encoded {
    /**
     * For bedside alone.
     */
    uint64_t id;
} bedside_encoded;

/**
 * An answer as a whole.
 */
typedef struct bedside_summary {
    /**
     * Number of findings: one a prompt, in the order of the prompts.
     */
    size_t findings;
    /**
     * Pixels in a row of the frame, and of each mask.
     */
    uint32_t width;
    /**
     * Rows of the frame, and of each mask.
     */
    uint32_t height;
    /**
     * The kind of imaging that the frame looks like.
     */
    bedside_modality looks_like;
    /**
     * How probable that is, 0 to 1; NaN where the bundle does not tell.
     */
    float looks_like_probability;
    /**
     * Wall time of the passes in nanoseconds, 0 for those that this answer took none of: the frame made
     * ready for the model,
     */
    uint64_t preprocess_ns;
    /**
     * the image encoder,
     */
    uint64_t encoder_ns;
    /**
     * the mask decoder,
     */
    uint64_t decoder_ns;
    /**
     * and masks with their statistics.
     */
    uint64_t masks_ns;
} bedside_summary;

/**
 * A box in pixels of the frame; all zero where there is no mask.
 */
typedef struct bedside_box {
    /**
     * Leftmost column.
     */
    uint32_t x;
    /**
     * Topmost row.
     */
    uint32_t y;
    /**
     * Number of columns.
     */
    uint32_t width;
    /**
     * Number of rows.
     */
    uint32_t height;
} bedside_box;

/**
 * The answer to one prompt. "Not present" is an answer.
 */
typedef struct bedside_finding {
    /**
     * Whether the object is in the frame. Then there is a mask, and only then.
     */
    bool present;
    /**
     * Why the prompt is not answered.
     */
    bedside_withheld withheld;
    /**
     * The model's probability that the object is in the frame, 0 to 1.
     */
    float presence;
    /**
     * Pixels in the mask.
     */
    uint64_t area;
    /**
     * Extents of the mask.
     */
    struct bedside_box bounding_box;
    /**
     * Mean probability over the mask's pixels, 0.5 to 1; NaN where there is no mask.
     */
    float mean_probability;
    /**
     * How usual mask and colours are for this object, 0 to 1; low values deserve doubt. NaN where
     * the bundle does not tell, or there is no mask.
     */
    float validity;
    /**
     * Of frames like those that the model learned the object from, the share that is less alike than
     * this one, 0 to 1; low values deserve doubt. NaN where the bundle does not tell.
     */
    float fit;
} bedside_finding;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Version of the library, such as `"0.1.0"`. The text lives as long as the program.
 */
const char *bedside_version(void);

/**
 * Why the last call of this thread that failed did so: the cause and `hint: ` with a remedy, in one
 * line; empty before the first failure. The text lives until the next failure of this thread, or its
 * end. Calls that succeed leave it alone.
 */
const char *bedside_last_error(void);

/**
 * The side of the model's input that suits these prompts, for `bedside_options`. This is what the
 * command `bedside segment` runs; without it, the bundle's own side runs.
 */
bedside_status bedside_suited_side(const char *bundle,
                                   const struct bedside_prompt *prompts,
                                   size_t count,
                                   uint32_t *side);

/**
 * Open a bundle, the path of a file or folder in UTF-8, and see that its own test frames get their
 * masks here. That they did is remembered in the cache folder, so that later starts take a fraction
 * of a second. `options` may be NULL.
 */
bedside_status bedside_segmenter_open(const char *bundle,
                                      const struct bedside_options *options,
                                      struct bedside_segmenter *segmenter);

/**
 * A further segmenter with the same weights in memory, to answer at the same time on another thread.
 * It takes the same prompts, and gives the same masks. Each is freed by itself.
 */
bedside_status bedside_segmenter_share(struct bedside_segmenter segmenter,
                                       struct bedside_segmenter *shared);

/**
 * Free a segmenter; `{0}` is none, and done. Its prompts and answers stay. A call that another thread
 * is in ends first.
 */
bedside_status bedside_segmenter_free(struct bedside_segmenter segmenter);

/**
 * Make prompts ready, once, outside the frame loop. They serve every segmenter of that bundle and
 * precision.
 */
bedside_status bedside_prompts_new(struct bedside_segmenter segmenter,
                                   const struct bedside_prompt *prompts,
                                   size_t count,
                                   struct bedside_prompts *ready);

/**
 * Free prompts; `{0}` is none, and done.
 */
bedside_status bedside_prompts_free(struct bedside_prompts prompts);

/**
 * Describe a frame in one buffer: its planes follow one another, and `stride` is the first one's
 * bytes from one row to the next. Chroma planes have the stride of their share of a row, as V4L2's
 * single-planar formats have it. The YUV space is BT.601 with 16 to 235; set another in `frame`.
 */
bedside_status bedside_frame_of_buffer(uint32_t width,
                                       uint32_t height,
                                       int32_t format,
                                       const uint8_t *buffer,
                                       size_t size,
                                       size_t stride,
                                       struct bedside_frame *frame);

/**
 * Answer each prompt on a frame. The image encoder runs once, all prompts go through the decoder in
 * one batch, and each gets the mask that it would get alone. The answer is to be freed.
 */
bedside_status bedside_segment(struct bedside_segmenter segmenter,
                               struct bedside_prompts prompts,
                               const struct bedside_frame *frame,
                               struct bedside_answer *answer);

/**
 * Run the image encoder on a frame, to ask several sets of prompts of it by `bedside_decode`, these and
 * others, now and later. What is encoded is good for this segmenter alone, takes some megabytes, and
 * is to be freed; the frame's memory is not needed any more.
 */
bedside_status bedside_encode(struct bedside_segmenter segmenter,
                              struct bedside_prompts prompts,
                              const struct bedside_frame *frame,
                              struct bedside_encoded *encoded);

/**
 * Answer each prompt on an encoded frame, with the masks that `bedside_segment` gives, for the time of
 * the mask decoder alone. The model sees some objects' frames turned: a frame that was encoded for
 * others is refused with `BEDSIDE_STATUS_MISMATCH`. The answer is to be freed.
 */
bedside_status bedside_decode(struct bedside_segmenter segmenter,
                              struct bedside_encoded encoded,
                              struct bedside_prompts prompts,
                              struct bedside_answer *answer);

/**
 * Free an encoded frame; `{0}` is none, and done.
 */
bedside_status bedside_encoded_free(struct bedside_encoded encoded);

/**
 * Ask for every object that the model knows in a modality and at a site, of which no two share a
 * pixel. Without a modality (NULL) it is the one that the frame looks like, without a site (NULL) all.
 * The answer is to be freed.
 */
bedside_status bedside_recognize(struct bedside_segmenter segmenter,
                                 const struct bedside_frame *frame,
                                 const char *modality,
                                 const char *site,
                                 struct bedside_answer *answer);

/**
 * What an answer is as a whole.
 */
bedside_status bedside_answer_summary(struct bedside_answer answer,
                                      struct bedside_summary *summary);

/**
 * One finding of an answer, numbered from 0 in the order of the prompts.
 */
bedside_status bedside_answer_finding(struct bedside_answer answer,
                                      size_t index,
                                      struct bedside_finding *finding);

/**
 * A text of a finding in UTF-8, ended by a zero byte; `which` is a `bedside_text`. `length` is its
 * bytes before that, also where `size` bytes are too few for it. With `size` 0, `buffer` may be NULL
 * and `length` alone is told.
 */
bedside_status bedside_answer_text(struct bedside_answer answer,
                                   size_t index,
                                   int32_t which,
                                   char *buffer,
                                   size_t size,
                                   size_t *length);

/**
 * The mask of a finding as bytes, 0 outside and 1 inside, in rows of the frame's width. `stride` is
 * the bytes in `buffer` from one row to the next; what lies between rows is left alone.
 */
bedside_status bedside_answer_mask(struct bedside_answer answer,
                                   size_t index,
                                   uint8_t *buffer,
                                   size_t size,
                                   size_t stride);

/**
 * The mask of a finding as COCO's run lengths: column by column, runs of unset and set pixels in turn,
 * unset first. `length` is their number, also where there is room for fewer; 0 without a mask. With
 * `capacity` 0, `counts` may be NULL and `length` alone is told.
 */
bedside_status bedside_answer_runs(struct bedside_answer answer,
                                   size_t index,
                                   uint32_t *counts,
                                   size_t capacity,
                                   size_t *length);

/**
 * Free an answer; `{0}` is none, and done.
 */
bedside_status bedside_answer_free(struct bedside_answer answer);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* BEDSIDE_H */
