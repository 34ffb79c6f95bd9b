// Outlines an object in a picture, with OpenCV.
//
//     c++ -std=c++17 opencv.cpp $(pkg-config --cflags --libs bedside opencv4) -o outline
//     ./outline edge.bedside colon.png polyp out.png
//
// A frame of cv::VideoCapture is a cv::Mat as well: make segmenter and prompts once, before the loop.
#include <bedside.hpp>
#include <iostream>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

/// A matrix of RGB pixels where it lies, rows padded or not.
static bedside_frame frame_of(const cv::Mat &rgb) {
    const std::size_t stride = rgb.step[0], size = stride * (rgb.rows - 1) + rgb.cols * rgb.elemSize();
    return bedside::frame(rgb.cols, rgb.rows, BEDSIDE_PIXEL_FORMAT_RGB8, rgb.data, size, stride);
}

static void run(const std::string &bundle, cv::Mat &picture, const std::string &prompt) {
    bedside_options options = {};
    options.side = bedside::suited_side(bundle, {{prompt}});
    const bedside::Segmenter segmenter(bundle, options);
    const bedside::Prompts prompts = segmenter.prompts({{prompt}});

    cv::Mat rgb;
    cv::cvtColor(picture, rgb, cv::COLOR_BGR2RGB);
    const bedside::Answer answer = segmenter.segment(prompts, frame_of(rgb));
    const bedside::Finding finding = answer.finding(0);
    std::cout << finding.prompt << ": " << finding.area << " pixels\n";
    if (!finding.present) return;
    cv::Mat mask(picture.size(), CV_8UC1);
    answer.mask(0, mask.data, mask.total(), mask.step[0]);
    std::vector<std::vector<cv::Point>> contours;
    cv::findContours(mask, contours, cv::RETR_EXTERNAL, cv::CHAIN_APPROX_NONE);
    cv::drawContours(picture, contours, -1, cv::Scalar(0, 255, 255), 2);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        std::cerr << "usage: " << argv[0] << " BUNDLE PICTURE PROMPT OUT\n";
        return 2;
    }
    try {
        cv::Mat picture = cv::imread(argv[2], cv::IMREAD_COLOR);
        if (picture.empty()) {
            std::cerr << argv[2] << ": not a picture that OpenCV reads\n";
            return 1;
        }
        run(argv[1], picture, argv[3]);
        return cv::imwrite(argv[4], picture) ? 0 : 1;
    } catch (const std::exception &error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
}
