/* Weight gradient of a depthwise convolution on bf16 maps with channels innermost. oneDNN takes
 * ten times as long for kernels of 5 and strides of 2, which would be most of a training step. */

#include <stdint.h>
#include <string.h>

enum { LANES = 16, KERNEL_MAX = 7 };

static inline void widen(const uint16_t *restrict in, float *restrict out) {
    uint32_t bits[LANES];
    for (int c = 0; c < LANES; c++) bits[c] = (uint32_t)in[c] << 16;
    memcpy(out, bits, sizeof bits);
}

/* x [n,h,w,channels], grad [n,oh,ow,channels], out [kernel,kernel,channels]; the same padding on
 * all sides. channels is a multiple of 16. */
void depthwise_weight_grad(const uint16_t *x, const uint16_t *grad, float *out, int64_t n,
                           int64_t h, int64_t w, int64_t oh, int64_t ow, int64_t channels,
                           int64_t kernel, int64_t stride, int64_t padding) {
    for (int64_t c = 0; c < channels; c += LANES) {
        for (int64_t i = 0; i < kernel; i++) {
            float sums[KERNEL_MAX][LANES] = {{0}};
            for (int64_t b = 0; b < n; b++) {
                for (int64_t oy = 0; oy < oh; oy++) {
                    int64_t y = oy * stride + i - padding;
                    if (y < 0 || y >= h) continue;
                    const uint16_t *row = x + (b * h + y) * w * channels + c;
                    const uint16_t *from = grad + (b * oh + oy) * ow * channels + c;
                    for (int64_t ox = 0; ox < ow; ox++) {
                        float g[LANES], v[LANES];
                        widen(from + ox * channels, g);
                        int64_t left = ox * stride - padding;
                        for (int64_t j = 0; j < kernel; j++) {
                            if (left + j < 0 || left + j >= w) continue;
                            widen(row + (left + j) * channels, v);
                            for (int q = 0; q < LANES; q++) sums[j][q] += v[q] * g[q];
                        }
                    }
                }
            }
            for (int64_t j = 0; j < kernel; j++)
                memcpy(out + (i * kernel + j) * channels + c, sums[j], sizeof sums[j]);
        }
    }
}
