"""What is said and drawn of findings.

language       every text of the report is said by `say`, in English and each language that has a catalogue
catalogues     of translations, one for each language
words          how the report calls things
answer         its first screen: a claim, a picture, three numbers, what to distrust
banners        the warnings
shown          a run as it shows it: its name, its look, and all its results
verdict        what it says then, in sentences
cautions       what could change that
audit          whether the comparison can be trusted, question by question
repeat         one block that repeats it all
terms          what a press explains
calibration    whether confidence can be trusted, and the most accurate run's weak sides
labels         the label curve in words, tables and pictures
figures        how pictures look, and how they are written
line_ends      names at the ends of lines, in the place of a legend
curves         those of a training, as they are drawn
label_figures  the label curve, and accuracy against time, as they are drawn
confidence_figures  that and robustness, as they are drawn
matrices       confusion matrices as pictures
fonts          those for scripts that its own font has not
gallery        the test images on the page
predictions    what networks say of single pictures, as a picture
pictures       what is drawn of which runs, and what it shows in words
tables         its tables of text
inspection     what is in a folder of images, as a page of its own
mistakes       where runs are wrong: matrices, classes, differences, images
document       the page: all of this as plain data for its template
templates      its HTML, its style and what happens on a click
report_files   the same for programs: report.json and metrics.csv
listing        reports/index.html
checks         thresholds that a script may set: `--require`
"""
