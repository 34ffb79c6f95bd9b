/* Reads a picture in the simplest format that there is: PPM (P6), 8 bits a channel. Other formats
 * become PPM by ImageMagick's `convert IN OUT.ppm`, or by netpbm. */
#ifndef PPM_H
#define PPM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct ppm {
    uint32_t width, height;
    size_t size;
    uint8_t *pixels; /* red, green, blue in turn; free() it */
} ppm;

/* Whether `path` was read into `picture`. */
static inline int ppm_read(const char *path, ppm *picture) {
    FILE *file = fopen(path, "rb");
    unsigned width = 0, height = 0, most = 0;
    int whole = 0;
    picture->pixels = NULL;
    if (file && fscanf(file, "P6 %5u %5u %3u", &width, &height, &most) == 3 && most == 255) {
        fgetc(file);
        picture->width = width;
        picture->height = height;
        picture->size = (size_t)width * height * 3;
        picture->pixels = (uint8_t *)malloc(picture->size);
        whole = picture->pixels && fread(picture->pixels, 1, picture->size, file) == picture->size;
    }
    if (file) fclose(file);
    if (!whole) {
        free(picture->pixels);
        picture->pixels = NULL;
    }
    return whole;
}

#endif
