"""The languages of the report beside English: a catalogue of each, a file here, and its line in `LANGUAGES`.

A catalogue has

    NAME             what the language calls itself, on the page's button
    NAME_IN_ENGLISH  in small letters, as report.json's keys have it: sentences_in_chinese
    MARKS            its punctuation of lists, under the English one
    UNITS_OF_TIME    its words for h, min and s
    TEXTS            its translations, under the English words that `language.say` is called with
    KNOWN            those of what records say, such as names of classes, and under `setting label_smoothing`,
                     `schedule constant`, `recipe tuned` and `split test` those of recipes' fields, their modes, recipes
                     and splits; what is not in it stays English

Values stand in braces in `TEXTS`, with the same names as in the English; their order is free. A new text of the report
is a new line of each: `tests/page/test_language.py` names what is missing and what is no longer used.
"""

from compare.page.catalogues import chinese

LANGUAGES = {"zh-Hans": chinese}  # by the codes that HTML has for languages
