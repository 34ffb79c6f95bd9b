// Finds objects in a picture, in C++17.
//
//     c++ -std=c++17 segment.cpp $(pkg-config --cflags --libs bedside) -o segment
//     ./segment edge.bedside colon.ppm polyp
//
// The last column is the mask as COCO's compressed run lengths.
#include <bedside.hpp>
#include <cstdlib>
#include <iostream>
#include <memory>

#include "ppm.h"

static void run(const std::string &bundle, const ppm &picture, const std::vector<bedside::Prompt> &words) {
    bedside_options options = {};
    options.side = bedside::suited_side(bundle, words);
    const bedside::Segmenter segmenter(bundle, options);
    const bedside::Prompts prompts = segmenter.prompts(words);

    const bedside_frame frame =
        bedside::frame(picture.width, picture.height, BEDSIDE_PIXEL_FORMAT_RGB8, picture.pixels,
                       picture.size, picture.width * std::size_t{3});
    const bedside::Answer answer = segmenter.segment(prompts, frame);
    for (std::size_t i = 0; i < answer.size(); i++) {
        const bedside::Finding finding = answer.finding(i);
        std::cout << finding.prompt << ": ";
        if (finding.present) {
            const bedside_box &box = finding.bounding_box;
            std::cout << finding.presence << ", " << finding.area << " pixels in " << box.width << "x"
                      << box.height << " at " << box.x << "," << box.y << "\t" << answer.rle(i) << "\n";
        } else {
            std::cout << (finding.withheld ? "withheld\n" : "not present\n");
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 4) {
        std::cerr << "usage: " << argv[0] << " BUNDLE PICTURE.ppm PROMPT...\n";
        return 2;
    }
    ppm picture;
    if (!ppm_read(argv[2], &picture)) {
        std::cerr << argv[2] << ": not a whole PPM of 8 bits\n";
        return 1;
    }
    const std::unique_ptr<std::uint8_t, decltype(&std::free)> pixels(picture.pixels, std::free);
    std::vector<bedside::Prompt> words;
    for (int i = 3; i < argc; i++) words.push_back({argv[i]});
    try {
        run(argv[1], picture, words);
    } catch (const bedside::Error &error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
}
