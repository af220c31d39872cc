r"""The words in which questions are asked when a data set has labels but no question.

{label} stands for what is pointed to or counted, as the data set names it, in lower case. One
template a line, \n breaks it. People ask carelessly, so some lack a full stop, a capital or
a word.
"""

from __future__ import annotations


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.replace(r"\n", "\n") for line in text.strip().splitlines())


ABSENT = "This isn't in the image."

CAPTION = _lines(r"""
Describe this image.
Describe this picture in detail.
What is in this image?
What does the picture show?
Tell me everything you see here.
Write a long description of this photo.
Give a thorough description of the image.
Please describe what you see.
Can you describe this image for me?
describe the image
caption this
Write a detailed caption for this picture.
What am I looking at?
Explain what this picture shows, with all its details.
I cannot see this image. Tell me what is in it.
Go over the whole image and say what is where.
Describe the scene, the objects in it and how they are arranged.
Put this picture into words.
Give me a full account of what can be seen in this photo.
Look closely at the image and write down what it contains.
What's going on in this picture? Be detailed.
Describe the picture so that someone could draw it.
Produce an exhaustive caption.
Summarize the contents of this image in a long paragraph.
Which things, people, texts and places appear in this image?
Talk me through this photo.
""")

POINTING = _lines(r"""
Point to {label}.
Point to the {label}.
Point at the {label}
Point to each {label}.
Point to every {label} you can find.
Point to all {label} in the picture.
Point to all the {label} that are visible.
Point to any {label} there may be.
Please point to {label}.
Please point out the {label} in this image.
Can you point to the {label}?
Can you point out every {label}?
Could you point at {label} for me?
Would you show me where the {label} is?
Where is the {label}?
Where are the {label}?
Where can I find {label}?
Where do you see {label}?
Where in the picture is {label}?
where is {label}
Find {label}.
Find the {label} in this picture.
Find all {label} and point to them.
find any {label}
Locate {label}.
Locate the {label} with points.
Locate every {label} in the photo.
Show me {label}.
Show me where you see {label}.
Show all {label} with points.
Mark the {label}.
Mark every {label} with a point.
Put a point on each {label}.
Put a point on the {label}
Give the position of {label}.
Give me the coordinates of the {label}.
Give a point for every {label} that you see.
Identify where {label} is by pointing.
Indicate the {label}.
Indicate each {label} with a point.
Look for {label} and point to what you find.
Search the image for {label} and mark it.
Is there {label} here? Point to it.
If there is any {label}, point to it.
I am looking for {label}. Where is it?
Help me find the {label}.
Tell me where the {label} are, with points.
Which places show {label}? Point.
pointing: {label}
Target: {label}
Object: {label}\nInstruction: Point to the object.
Label: {label}\nTask: point
Point to {label} in this image.\nIf it is not there, answer: This isn't in the image.
""")

COUNTING = _lines(r"""
How many {label} are there?
How many {label} are there in the picture?
How many {label} are in this image?
How many {label} can you see?
How many {label} can you count?
How many {label} do you see here?
How many {label} does the image show?
How many {label} are visible?
How many {label} appear in this photo?
How many {label} does this picture have?
How many {label}?
how many {label} are there
how many {label} do you count
Count the {label}.
Count the {label} in this image.
Count all {label}.
Count all the {label} you can see.
Count every {label} in the photo.
Count each {label} by pointing to it.
Count {label} and point to them.
Count how many {label} are in the picture.
count {label}
Please count the {label}.
Please count all {label} in the image.
Please tell me how many {label} there are.
Can you count the {label}?
Can you tell how many {label} there are?
Can you tell me the number of {label}?
Could you count {label} for me?
Could you say how many {label} are visible?
What is the number of {label}?
What is the total number of {label} in this picture?
What is the count of {label}?
What number of {label} do you see?
Tell me how many {label} you see.
Tell me the number of {label} in the photo.
Give the number of {label}.
Give me a count of the {label}.
Give me the total of {label} in the image.
State how many {label} are shown.
Say how many {label} there are.
Find all {label} and count them.
Find out how many {label} there are.
Point to the {label} and count them.
Point to and count the {label}.
Point to and count every {label} in this image.
Point to each {label}, then give the total.
Point at all {label} and tell me how many there are.
Mark each {label} and count.
Show me every {label} and say how many.
Locate each {label}, then count them.
Look for {label}. How many are there?
I need to know how many {label} there are.
I want a count of {label}.
Determine the number of {label} in the image.
Work out how many {label} the picture shows.
Add up all the {label}.
The number of {label} in this picture is?
Number of {label}?
Total {label}:
""")

# Before a "how many" question whose answer does not point. Carelessness is meant.
NO_POINTING = _lines(r"""
Without pointing:
Without pointing,
No pointing:
No pointing.
no pointing,
No points:
No points please.
no points
Do not point.
Do not use points.
Do not mark anything.
Don't point:
Don't point.
Dont point,
dont use points.
Please do not point.
Please don't point:
please dont point
Answer without pointing.
Answer without points:
Answer in words only.
Answer with text alone:
Only words, no points.
Just the answer, no points.
Just tell me, don't point.
Just say it without pointing.
Say, without pointing:
Tell me without pointing:
Skip the points.
Leave the points out:
Text only:
Wihtout pointing:
No poiting:
Do not ponit.
""")
