"""The results of Jinja2, configured as in transformers, for small templates: `templates/jinja.json`.

Each case is a template, and the text that it writes over the values of `CONTEXT`, or nothing where Python fails. They hold
the parts of Jinja and of Python's own types that chat templates use: numbers as text, `tojson`, methods, filters, tests.
"""

import json
import re
from pathlib import Path

from transformers.utils.chat_template_utils import _compile_jinja_template

CONTEXT = {
    "small": 5e-05,
    "tiny": 1e-08,
    "large": 1e16,
    "below": 123456789012345.0,
    "edge": 9999999999999998.0,
    "huge": 1.5e300,
    "tenth": 0.1,
    "one": 1.0,
    "minus": -0.0,
    "count": 3,
    "long": 9223372036854775807,
    "longer": 18446744073709551615,
    "name": "Ada Lovelace",
    "text": "  The quick-brown fox's  den\tis here.\n\nSecond line \u00e9\u00df\u732b \U0001f642\n",
    "csv": "a,b,,c",
    "words": ["pear", "Apple", "fig", "apple"],
    "numbers": [3, 1.5, 2, 1e-07],
    "empty": [],
    "none": None,
    "yes": True,
    "nested": {"b": [1, 2.5e-07, None, True, "it's"], "a": {"x": 1e22, "<&>": "\u00e9\n\"q\"\\"}, "z": []},
    "people": [{"name": "Bo", "age": 3}, {"name": "Al", "age": 1}, {"name": "Cy", "age": 3}],
    "tool": {"type": "array", "properties": {"items": {"type": "string"}, "get": 1}},
    "html": "<p>Tom &amp; <b>Jerry</b><!-- no --> &lt;3</p>  end",
}

NUMBERS = r"""
{{ small }} {{ tiny }} {{ large }} {{ below }} {{ edge }} {{ huge }} {{ tenth }} {{ one }} {{ minus }}
{{ long }} {{ longer }} {{ long + 1 }} {{ long * long }} {{ longer * 4 }}
{{ 1e16 }} {{ 1e15 }} {{ 1e-4 }} {{ 1e-5 }} {{ 123456789.123456789 }} {{ 1e22 }} {{ 1e23 }} {{ 100.0 }} {{ 12345678901234567890.0 }}
{{ numbers }} {{ [small, large] }} {{ {'k': tiny} }} {{ (small,) }}
{{ small ~ '' }}{{ large ~ tiny }}{{ count ~ one }}{{ yes ~ none }}
{{ small | string }} {{ numbers | join(' ') }} {{ ' '.join(['a', 'b']) }} {{ numbers | map('string') | join('|') }}
{{ '%s and %s' % (small, large) }} {{ '%s' % tiny }} {{ '%s' | format(small) }} {{ '{} {}'.format(small, one) }}
{{ small | tojson }} {{ tiny | tojson }} {{ large | tojson }} {{ huge | tojson }} {{ one | tojson }} {{ minus | tojson }}
{{ longer | tojson }} {{ (long * 2) | tojson }} {{ (long * long) | tojson }}
{{ nested | tojson }}
{{ nested | tojson(indent=2) }}
{{ nested | tojson(indent=0) }}
{{ nested | tojson(indent='-') }}
{{ nested | tojson(sort_keys=true) }}
{{ nested | tojson(ensure_ascii=true) }}
{{ text | tojson(ensure_ascii=true) }}
{{ text | tojson(true) }} {{ nested | tojson(false, 1) }}
{{ nested | tojson(separators=(',', ':')) }}
{{ nested | tojson(separators=[',', ': '], indent=4) }}
{{ {1: 2, none: 3, true: 4, 1.5: 5, 1e16: 6} | tojson }}
{{ undefined_name | tojson }}
{{ [undefined_name] | tojson }}
{{ (1, 2) | tojson }} {{ range(3) | list | tojson }} {{ '' | tojson }} {{ none | tojson }}
{{ nested }}
{{ text }}|{{ [text] }}
{{ ["it's", 'say "x"', "both ' and \"", "tab\t", "\u00a0\u200b\u0301\u00e9"] }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.5 % 2 }} {{ 2 ** 0.5 }}
{{ -7.5 % 2 }} {{ 7 % -3 }} {{ 6 % -3 }} {{ 5 % 2.5 }} {{ yes % 2 }} {{ 7 % 0 }} {{ count % 2 }} {{ [1] % 2 }} {{ 3 * 1.0 }} {{ 1 + 1.5 }} {{ 10 / 3 }} {{ 0.1 + 0.2 }} {{ 1e16 + 1 }} {{ 1 / 3e10 }}
{{ 2.5 | round }} {{ 3.5 | round }} {{ 2.675 | round(2) }} {{ 1234.5 | round(-2) }} {{ 2.1 | round(0, 'ceil') }} {{ 2.9 | round(method='floor') }}
{{ 5 | round }} {{ 42.55 | round | int }} {{ 1e20 | round }}
{{ '3.7' | float }} {{ '3.7' | int }} {{ 'x' | int(9) }} {{ 'x' | float(1.5) }} {{ '0x1A' | int(0, 16) }} {{ 3.99 | int }} {{ '1e-05' | float }} {{ none | int(4) }}
{{ numbers | sum }} {{ numbers | max }} {{ numbers | min }} {{ [1, 2] | sum(start=10) }} {{ people | sum(attribute='age') }}
{{ -3 | abs }} {{ (-3.5) | abs }} {{ small | abs }}
{{ 1 == 1.0 }} {{ 1 is sameas 1 }} {{ yes == 1 }} {{ 3 > 2.5 }} {{ [1, 2] < [1, 3] }} {{ 'a' < 'b' }}
{{ yes + 1 }} {{ true and 'a' or 'b' }} {{ not empty }} {{ '' or none }} {{ 0 or 0.0 }}
"""

METHODS = r"""
{{ 'a-b-c'.rsplit('-', 1) }} {{ 'a-b-c'.rsplit('-') }} {{ ' a  b c '.rsplit() }} {{ ' a  b c '.rsplit(none, 1) }} {{ ' a  b c '.rsplit(maxsplit=1) }}
{{ csv.split(',') }} {{ csv.split(',', 1) }} {{ ' a  b '.split() }} {{ 'a b c'.split(none, 1) }} {{ 'a b  c '.split(maxsplit=1) }} {{ ''.split() }} {{ ''.split(',') }} {{ csv.split(sep=',', maxsplit=2) }}
{{ 'a=b=c'.partition('=') }} {{ 'abc'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.rpartition('=') }}
{{ 'prefix_x'.removeprefix('prefix_') }} {{ 'x_suffix'.removesuffix('_suffix') }} {{ 'x'.removeprefix('y') }} {{ 'x'.removesuffix('') }}
{{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ '+7'.zfill(4) }} {{ 'abc'.zfill(2) }} {{ ''.zfill(2) }}
[{{ 'ab'.ljust(5) }}] [{{ 'ab'.rjust(5, '*') }}] [{{ 'ab'.center(5) }}] [{{ 'abc'.center(6, '-') }}] [{{ 'ab'.center(7, '-') }}] [{{ 'abc'.ljust(2) }}]
{{ 'banana'.index('n') }} {{ 'banana'.rindex('n') }} {{ 'banana'.index('n', 3) }} {{ 'banana'.find('n', 3) }} {{ 'banana'.rfind('a', 0, 4) }} {{ 'banana'.find('x') }}
{{ 'banana'.index('x') }}
{{ 'banana'.count('a') }} {{ 'banana'.count('ana') }} {{ 'banana'.count('a', 2) }} {{ 'banana'.count('') }}
{{ ['a', 'b', 'a'].index('b') }} {{ ['a', 'b', 'a'].count('a') }} {{ (1, 2, 1).index(2) }} {{ (1, 2, 1).count(1) }} {{ [1, 2, 3].index(3, 1) }}
{{ ['a'].index('z') }}
{{ text.strip() }}|{{ text.lstrip() }}|{{ text.rstrip() }}|{{ 'xxaxx'.strip('x') }}{{ 'abcba'.lstrip('ab') }}{{ '\x1c a\u2003'.strip() }}|
{{ text.splitlines() }} {{ 'a\r\nb\rc\x0bd\u2028e\n'.splitlines() }} {{ 'a\n\nb'.splitlines(true) }} {{ 'a\nb'.splitlines(keepends=true) }}
{{ text.title() }} {{ text.capitalize() }} {{ text.upper() }} {{ text.lower() }} {{ text.swapcase() }} {{ "they're bill's".title() }} {{ 'ABC def'.capitalize() }}
{{ 'ab'.islower() }} {{ 'aB'.islower() }} {{ '1'.islower() }} {{ 'AB1'.isupper() }} {{ ' \n'.isspace() }} {{ ''.isspace() }} {{ 'Ab Cd'.istitle() }} {{ 'Ab cd'.istitle() }}
{{ '12'.isdigit() }} {{ '\u00bd'.isdigit() }} {{ '\u00b2'.isdigit() }} {{ '\u00b2'.isdecimal() }} {{ '\u00bd'.isnumeric() }} {{ ''.isdigit() }} {{ 'a1'.isalnum() }} {{ 'a_'.isalnum() }} {{ 'ab'.isalpha() }} {{ 'ab'.isascii() }} {{ 'a_1'.isidentifier() }} {{ '1a'.isidentifier() }} {{ 'a\n'.isprintable() }}
{{ 'aXbXc'.replace('X', '-') }} {{ 'aXbXc'.replace('X', '-', 1) }} {{ 'abc'.replace('', '-') }} {{ 'abc'.replace('', '-', 2) }} {{ 'abc'.replace('b', 'b', 0) }}
{{ 'abc'.startswith('a') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('c') }} {{ 'abc'.endswith(('x', 'bc')) }} {{ 'abc'.endswith('b', 0, 2) }}
{{ 'abc'.startswith(['a']) }}
{{ 'a\tb'.expandtabs(4) }} {{ 'Stra\u00dfe'.casefold() }} {{ 'abc'.translate({97: 'x'}) }}
{{ '{0}-{1}-{0}'.format('a', 'b') }} {{ '{x} {y:>4}'.format(x=1, y='z') }} {{ '{:.2f}|{:5d}|{:<4}|{:^5}|{:05.1f}|{:,}'.format(3.14159, 42, 'a', 'b', 2.25, 1234567) }} {{ '{{}} {!r} {!s}'.format('q', small) }}
{{ '{0[a]} {1.name}'.format({'a': 1}, 2) }}
{{ '{}'.format(nested) }} {{ '{}'.format(none) }} {{ '{}'.format(yes) }} {{ '{:>8}'.format(small) }} {{ '{:e}'.format(small) }} {{ '{:g}'.format(1e-07) }}
{{ {'a': 1}.get('a') }} {{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 2) }} {{ {'a': 1}.items() | list }} {{ {'a': 1, 'b': 2}.keys() | list }} {{ {'a': 1}.values() | list }} {{ {'a': 1}.copy() }} {{ [1].copy() }}
{{ {'a': 1}.pop('a') }}
{{ [1].append(2) }}
{{ 'x'.nothing() }}
{{ 'ab'.join('cd') }} {{ ','.join(words) }} {{ ','.join({'a': 1, 'b': 2}) }}
{{ ','.join([1, 2]) }}
{{ 'abc'[1] }} {{ 'abc'[-1] }} {{ 'abc'[::-1] }} {{ words[-1] }} {{ words[1:3] }} {{ nested.a.x }} {{ nested['a']['x'] }} {{ (1, 2, 3)[1:] }}
{{ 'abc'[9] }}|{{ words[9] }}|{{ nested.missing }}|
{{ nested.missing.deeper }}
{{ name.upper() ~ name.lower().title() }} {{ 'a' * 3 }} {{ 'a' 'b' }} {{ 'a' in 'abc' }} {{ 2 in [1, 2] }} {{ 'a' in {'a': 1} }} {{ 3 not in [1, 2] }}
{{ 'yes' if tool['items'] else 'no' }} {{ 'yes' if tool.items else 'no' }} {{ 'yes' if tool.properties.items else 'no' }} {{ tool.properties['items'] }} {{ tool['type'] }} {{ tool.properties['get'] }} {{ 'yes' if tool.keys is defined else 'no' }}
{{ tool.items is callable }} {{ tool.properties.items() | list }} {{ 'yes' if tool.values is string else 'no' }} {{ tool.get is mapping }}
{% for k, v in tool.items() %}{{ k }}={{ v }};{% endfor %} {% for k, v in tool | items %}{{ k }};{% endfor %}
{% for k in tool.items %}{{ k }}{% endfor %}
"""

FORMATS = r"""
{{ '%s is %d years, %.2f, %5s|%-5s|%05d|%x|%X|%o|%e|%g|%%|%c|%r' % ('Al', 3.7, 2.345, 'a', 'b', 42, 255, 255, 8, 12345.678, 0.00001, 'z', "it's") }}
{{ '%(a)s-%(b)03d' % {'a': 1, 'b': 2} }} {{ '%s' % [1, 2] }} {{ '%s' % {'a': 1} }} {{ '%s' % none }} {{ 'plain' % {} }} {{ '%s' % ('a',) }} {{ '%5.1f|%+d|% d' % (2.25, 3, 4) }}
{{ '%s %s' % ('a',) }}
{{ '%s' % ('a', 'b') }}
{{ 'plain' % 'x' }}
{{ '%d' % 'x' }}
{{ '%(a)s' | format(a=1) }} {{ '%s %s' | format('a', 2) }} {{ '%*d' % (5, 42) }} {{ '%.3s|' % 'abcdef' }} {{ '%i' % 4 }} {{ '%a' % 'é' }} {{ '%G %E' % (1e-10, 1.5) }} {{ '%#x' % 255 }} {{ '%s' % (small,) }} {{ '%.1f' % 0.25 }} {{ '%d' % longer }}
"""

FILTERS = r"""
{{ 'foo bar baz qux' | truncate(9) }} {{ 'foo bar baz qux' | truncate(9, true) }} {{ 'foo bar baz qux' | truncate(11) }} {{ 'foo bar baz qux' | truncate(11, false, '...', 0) }} {{ 'foo bar' | truncate(length=4, end='~', leeway=0) }} {{ text | truncate(12, leeway=0) }} {{ 'é猫🙂abc def' | truncate(5, true, '', 0) }}
{{ 'foo' | truncate(2) }}
{{ 'a&amp;b &Eacute;&#233;&#xe9; &unknown; & &lt;b&gt; x&nbsp;y' | striptags }} {{ 'a<b>c</b> <!-- x > y --> d <' | striptags }}
{{ text | wordcount }} {{ "it's a well-known fact" | wordcount }} {{ '' | wordcount }} {{ 'a_b c1 é' | wordcount }}
{{ html | striptags }} {{ '<br>a  b\n c' | striptags }} {{ 'a < b' | striptags }} {{ '&copy;&#39;&nbsp;x' | striptags }}
{{ 'a b/c?d=é&e' | urlencode }} {{ {'q': 'a b', 'r': 'é/'} | urlencode }} {{ [('a', 1), ('b', 'x y')] | urlencode }} {{ 'a~b-c_d.e+f' | urlencode }}
[{{ 'foo' | center(9) }}] [{{ 'fo' | center(5) }}] [{{ 'foo' | center }}] [{{ 'foo' | center(width=6) }}]
{{ 'Hello World and all of you' | wordwrap(10) }}|{{ 'averylongwordindeed short' | wordwrap(8) }}|{{ 'averylongwordindeed short' | wordwrap(8, false) }}|{{ 'a b c d' | wordwrap(3, wrapstring='/') }}|{{ 'one two\nthree four five' | wordwrap(9) }}|{{ 'well-known thing' | wordwrap(6) }}|{{ 'well-known thing' | wordwrap(6, break_on_hyphens=false) }}
{{ text | wordwrap(12) }} {{ "a self-made co-op -- really--well--thought-out, e-mail x-ray 2024-01-01" | wordwrap(7) }} {{ '   leading and trailing   ' | wordwrap(9) }} {{ '' | wordwrap(4) }}
{{ name | title }} {{ "foo's bar-baz (qux) [x]" | title }} {{ text | title }} {{ 'hello WORLD' | capitalize }} {{ name | upper }} {{ name | lower }}
{{ words | sort }} {{ words | sort(true) }} {{ words | sort(true, true) }} {{ words | unique(true) | list }} {{ words | min(true) }} {{ people | max(attribute="age") }} {{ people | min(false, "name") }} {{ words | sort(case_sensitive=true) }} {{ words | sort(reverse=true) }} {{ people | sort(attribute='age') | map(attribute='name') | join }} {{ people | sort(attribute='age,name') | map(attribute='name') | join }} {{ numbers | sort }}
{{ words | unique | list }} {{ words | unique(case_sensitive=true) | list }} {{ people | unique(attribute='age') | map(attribute='name') | join }} {{ [1, 1.0, 2] | unique | list }}
{{ people | groupby('age') | map('first') | list }} {% for age, group in people | groupby('age') %}{{ age }}:{{ group | map(attribute='name') | join(',') }};{% endfor %} {% for g in people | groupby('age') %}{{ g.grouper }}{{ g.list | length }}{% endfor %}
{{ {'b': 1, 'A': 3, 'c': 2} | dictsort }} {{ {'b': 1, 'a': 3} | dictsort(by='value') }} {{ {'b': 1, 'A': 3} | dictsort(true) }} {{ {'b': 1, 'a': 3} | dictsort(reverse=true) }}
{{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3] | batch(2, 'x') | list }} {{ [1, 2, 3, 4, 5] | slice(2) | list }} {{ [1, 2, 3, 4, 5] | slice(3, 'x') | list }}
{{ words | first }} {{ words | last }} {{ 'abc' | first }} {{ 'abc' | last }} {{ empty | first }}| {{ words | length }} {{ 'é猫' | length }} {{ nested | count }}
{{ 'a' | default('b') }} {{ undefined_name | default('b') }} {{ '' | default('b') }} {{ '' | default('b', true) }} {{ none | d('x') }} {{ none | d('x', boolean=true) }}
{{ words | join(', ') }} {{ people | join(',', attribute='name') }} {{ 'abc' | join('-') }} {{ [none, true, 1.0] | join(' ') }} {{ nested | join('/') }}
{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb\n\nc' | indent(2, true) }}|{{ 'a\nb\n\nc' | indent(2, blank=true) }}|{{ 'a\nb' | indent('> ') }}|{{ 'a\nb' | indent(width=1, first=true) }}
{{ 'a.b.c' | replace('.', '-') }} {{ 'a.b.c' | replace('.', '-', 1) }} {{ 'abc' | replace('', '-') }} {{ 123 | replace('2', 'x') }}
{{ ' a ' | trim }}| {{ 'xax' | trim('x') }} {{ 5 | trim }} {{ [' a '] | map('trim') | list }}
{{ words | select('equalto', 'fig') | list }} {{ [1, 2, 3] | select('odd') | list }} {{ [0, 1, '', 'a'] | select | list }} {{ [1, 2, 3] | reject('even') | list }} {{ people | selectattr('age', 'gt', 1) | map(attribute='name') | list }} {{ people | rejectattr('age', 'eq', 3) | map(attribute='name') | list }} {{ people | selectattr('name') | list | length }} {{ [1, 2] | reject | list }}
{{ people | map(attribute='nope', default='-') | list }} {{ words | map('upper') | list }} {{ words | map('replace', 'p', 'P') | list }} {{ [[1, 2], [3]] | map('length') | list }} {{ people | map(attribute='nope') | list | length }}
{{ 'abc' | list }} {{ {'a': 1} | list }} {{ 'abc' | reverse }} {{ [1, 2] | reverse | list }} {{ (1, 2) | list }} {{ range(5) | list }} {{ range(5, 0, -2) | list }}
{{ {'a': 1} | items | list }} {{ '<a href="x">' | escape }} {{ '<' | e }} {{ '<b>' | safe }} {{ "it's" | forceescape }} {{ 'a&b' | e | e }}
{{ nested | attr('x') }}| {{ 'x' | string }} {{ 5 | string | length }} {{ numbers | min }} {{ words | max }} {{ words | min(case_sensitive=true) }} {{ people | max(attribute='age') }}
{{ words | sort | first | upper | lower | length }} {{ '%s' | format(words | first) }} {{ (words | first)[0] }} {{ words | map('first') | join }}
{{ words | split(',') }}
{{ 'x' | nothing }}
"""

TESTS = r"""
{{ 'a' is sequence }} {{ [1] is sequence }} {{ {'a': 1} is sequence }} {{ 1 is sequence }} {{ none is sequence }} {{ (1,) is sequence }} {{ undefined_name is sequence }} {{ range(3) is sequence }}
{{ 'a' is iterable }} {{ [1] is iterable }} {{ {'a': 1} is iterable }} {{ 1 is iterable }} {{ none is iterable }} {{ undefined_name is iterable }} {{ (words | map('upper')) is iterable }}
{{ {'a': 1} is mapping }} {{ [1] is mapping }} {{ 'a' is string }} {{ 1 is string }} {{ 1 is number }} {{ 1.5 is number }} {{ true is number }} {{ 'a' is number }} {{ 1 is integer }} {{ 1.0 is integer }} {{ true is integer }} {{ 1.0 is float }} {{ true is boolean }} {{ 1 is boolean }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 0 is false }} {{ none is none }} {{ undefined_name is none }}
{{ undefined_name is defined }} {{ none is defined }} {{ undefined_name is undefined }} {{ name is defined }} {{ nested.a is defined }} {{ nested.nope is defined }}
{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 'ab' is lower }} {{ 'AB' is upper }} {{ 1 is in [1, 2] }} {{ 'a' is in 'abc' }} {{ 1 is eq 1 }} {{ 1 is equalto(1) }} {{ 2 is gt 1 }} {{ 2 is lessthan 3 }} {{ 2 is ge 2 }} {{ 2 is ne 3 }} {{ 1 is sameas 1 }} {{ dict is callable }} {{ 1 is callable }} {{ 'upper' is filter }} {{ 'odd' is test }} {{ 'x' is escaped }} {{ 'nope' is filter }}
{{ 1 is not odd }} {{ not 1 is odd }} {{ 'x' is not none }} {{ undefined_name is not defined }} {{ words is not string and words is iterable and words is not mapping }}
"""

FUNCTIONS = r"""
{% set c = cycler('a', 'b', 'c') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{% set x = c.reset() %}{{ c.current }}{{ c.next() }}
{% set comma = joiner(', ') %}{% for w in words %}{{ comma() }}{{ w }}{% endfor %} {% set j = joiner() %}{{ j() }}a{{ j() }}b
{% set c = cycler('odd', 'even') %}{% for w in words %}{{ c.next() }}{% endfor %}
{{ cycler() }}
{% macro f(a, b='x') %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1) }} {{ f(1, 2) }} {{ f(1, 2, 3, 4) }} {{ f(1, c=5) }} {{ f(a=1) }} {{ f(b=1, a=2) }} {{ f() }}
{% macro f() %}{% for v in varargs %}{{ v }},{% endfor %}{{ varargs | length }}{% endmacro %}{{ f(1, 'b', none) }}{{ f() }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, b=2) }}
{% macro f(a, *args) %}{{ a }}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{{ a }}{{ caller() }}{% endmacro %}{% call f(1) %}body{% endcall %} {% macro g() %}{{ caller(1, 'b') }}{% endmacro %}{% call(x, y) g() %}{{ x }}{{ y }}{% endcall %}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}
{% set args = [1, 2] %}{% macro f(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ f(*args) }} {{ f(**{'a': 3, 'b': 4}) }} {{ f(*[5], **{'b': 6}) }}
{% macro f(a, b=[]) %}{{ a }}{{ kwargs }}{% endmacro %}{{ f(1, x=2, y=small) }} {{ f(1, **{'z': 3}) }}
{% set ns = namespace(a=1, b='x') %}{% set ns.a = 2 %}{{ ns.a }}{{ ns.b }} {% set ns2 = namespace({'c': 3}) %}{{ ns2.c }} {{ ns.missing is defined }} {{ ns['a'] }}
{{ dict(a=1, b=2) }} {{ dict({'a': 1}, b=2) }} {{ dict([('a', 1)]) }} {{ dict() }}
{% for x in words %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('o', 'e') }}{{ loop.changed(x) }} {% else %}none{% endfor %}
{% for x in empty %}x{% else %}none{% endfor %} {% for x in words if x != 'fig' %}{{ loop.index }}{{ x }}{% endfor %} {% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %} {% for k in nested %}{{ k }}{% endfor %} {% for c in 'abc' %}{{ c }}{% endfor %} {% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %} {% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in [[1, [2]], 3] recursive %}{{ loop.depth }}{{ loop.depth0 }}{{ loop(x) if x is iterable else x }}{% endfor %}
{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }} {% if true %}{% set y = 3 %}{% endif %}{{ y }} {% set a, b = 1, 2 %}{{ a }}{{ b }} {% set t %}block{{ x }}{% endset %}{{ t }} {% set t | upper %}up{% endset %}{{ t }} {% with z = 5 %}{{ z }}{% endwith %}{{ z is defined }}
{% filter upper %}abc{{ name }}{% endfilter %} {% raw %}{{ x }}{% endraw %} {# comment #}{{ 'a' }}{#- trim -#} b {%- if true -%} c {%- endif -%} d
{% if none %}a{% elif 0 %}b{% elif '' %}c{% elif empty %}d{% elif {} %}e{% elif 0.0 %}f{% else %}g{% endif %} {{ 'a' if false }}| {{ ('a' if false) is defined }}
{{ [1, 2, 3][1:] + [4] }} {{ (1, 2) + (3,) }} {{ {'a': 1}['a'] }} {{ {'a': {'b': 2}}.a.b }} {{ -5 }} {{ 1 if yes else 2 }} {{ (1, 2)[0] }} {{ [x for x in words] }}
{{ words + 1 }}
{{ 'a' + 1 }}
{{ undefined_name + 'a' }}
{{ undefined_name.attribute }}
{{ undefined_name }}|{{ undefined_name is defined }}|{% for x in undefined_name %}x{% endfor %}|{{ undefined_name | length }}|{{ undefined_name == none }}|{{ 'a' in undefined_name }}
{{ undefined_function() }}
{{ raise_exception('mine') }}
{{ 1 / 0 }}
{{ none + 1 }}
{{ none.x }}
{{ 5.x }}|
{{ true }} {{ True }} {{ None }} {{ none }} {{ False }} {{ 'a\n\t\u00e9\x41' }} {{ "dq" }} {{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1.5e3 }} {{ 1E2 }}
{{ ns is undefined }} {{ loop is defined }} {{ caller is defined }} {{ namespace is callable }}
{% do 1 %}
{% import 'x' as y %}
{% set x = [1, 2] %}{% set y = x + [3] %}{{ x }}{{ y }} {% set d = dict(nested, q=1) %}{{ d.q }} {{ nested.z == [] }} {{ nested.b[-1] }} {{ nested.b[:2] }}
{{ words[0].upper()[1:] }} {{ ('a,b'.split(','))[1] }} {{ 'a,b'.split(',') | last }} {{ 'x'.join(['1', '2']) | length }} {{ name.split()[0].lower() }}
{{ nested.b[1] }} {{ numbers[3] * 2 }} {{ numbers[3] + 1 }} {{ -numbers[3] }} {{ small * 2 ~ 'x' }} {{ (small, large) | join(' ') }} {{ (count * 1e15) | string }} {{ count / 3e5 }} {{ [small * 1] }}
"""


def sources() -> list[str]:
    """Every template once; expressions side by side in a line without statements are separate templates."""
    found = {}
    for block in (NUMBERS, METHODS, FORMATS, FILTERS, TESTS, FUNCTIONS):
        for line in block.strip().split("\n"):
            pieces = [line] if "{%" in line or "{#" in line else re.split(r"(?<=\}\})[ |]*(?=\{\{)", line)
            found |= dict.fromkeys(pieces)
    return list(found)


def cases() -> list[dict]:
    """Every template with the text that it writes; `None` if it fails."""
    found = []
    for source in sources():
        case = {"source": source}
        try:
            case["text"] = _compile_jinja_template(source).render(**CONTEXT)
        except Exception as error:  # noqa: BLE001 - any exception means that it writes no text
            case["why"] = f"{type(error).__name__}: {error}"
        found.append(case)
    return found


def generate(out: Path) -> None:
    """Write `templates/jinja.json` under `out`."""
    folder = out / "templates"
    folder.mkdir(exist_ok=True)
    lines = [json.dumps(case, ensure_ascii=False) for case in cases()]
    context = json.dumps(CONTEXT, ensure_ascii=False)
    text = f'{{"context": {context},\n"cases": [\n' + ",\n".join(lines) + "\n]}\n"
    (folder / "jinja.json").write_text(text, encoding="utf-8")
